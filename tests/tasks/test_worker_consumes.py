"""A worker that no longer takes messages says so, though its process and its threads go on."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from celery.bootsteps import CLOSE, RUN  # type: ignore[attr-defined]  # the stubs leave them out
from celery.worker import state

from tasks.consuming import STUCK_SECONDS, is_consuming
from tasks.heartbeat import read_signs
from tasks.messages import Outgoing, encode
from tasks.parts import Parts
from tasks.queues import QUEUES
from tasks.transport import life
from tests.tasks.real_worker import running_worker
from tests.waiting import eventually


def worker(blueprint_state: int = RUN) -> Any:
    """What is asked of Celery's WorkController."""
    return SimpleNamespace(blueprint=SimpleNamespace(state=blueprint_state))


def test_a_worker_consumes_until_it_is_told_to_stop_or_breaks_down(monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_consuming(worker())
    assert not is_consuming(worker(CLOSE))
    monkeypatch.setattr(state, "should_stop", False)
    assert is_consuming(worker())
    monkeypatch.setattr(state, "should_stop", 0)
    assert not is_consuming(worker())


def test_a_worker_whose_loop_hangs_does_not_consume() -> None:
    def seconds_since() -> float:
        return STUCK_SECONDS + 1

    life.register("a loop", seconds_since)
    assert not is_consuming(worker())
    life.unregister(seconds_since)
    assert is_consuming(worker())


@pytest.fixture
async def parts(task_settings: Any) -> Any:
    opened = await Parts.open(task_settings)
    yield opened
    await opened.close()


def message(parts: Parts, task_id: str, **arguments: Any) -> bytes:
    now = parts.clock.now()
    return encode(
        Outgoing(
            task_id=task_id,
            actor="sleep",
            queue="upkeep",
            arguments=arguments,
            context={},
            created_at=now,
            enqueued_at=now,
        )
    )


async def test_a_worker_that_broke_down_while_a_task_runs_serves_no_queue(parts: Parts) -> None:
    async def queues() -> list[tuple[str, ...]]:
        return [sign.queues for sign in await read_signs(parts.redis, parts.clock.now()) if sign.active]

    async def serves(*expected: str) -> bool:
        return await queues() == [expected]

    async with running_worker(parts, MOORAGE_TRANSPORT="stock"):  # ours would put the message aside
        await parts.redis.lpush("upkeep", message(parts, "runs", seconds=60))
        await eventually(lambda: serves(*QUEUES))
        breaks = json.loads(message(parts, "breaks", seconds=0))
        breaks["headers"]["timelimit"] = "Celery's own code cannot unpack this, and its worker ends"
        await parts.redis.lpush("upkeep", json.dumps(breaks))
        await eventually(serves)
