"""How tasks end that do not end by themselves: cancelled through Celery, or by killing the process they run in."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from celery import Celery

from tasks.catalog import migrate
from tasks.catalog import tasks as rows
from tasks.catalog.tasks import TaskRow
from tasks.jobs import diagnostics
from tasks.messages import Outgoing, encode
from tasks.parts import Parts
from tasks.records import Record
from tasks.redis_address import celery_url
from tasks.settings import TaskSettings
from tests.tasks.real_worker import FINISH_SECONDS, RealWorker, record_in, running_worker
from tests.tasks.running import row_of
from tests.waiting import eventually

ROUGH = "tests.tasks.rough_worker"
LEASES = {"MOORAGE_LEASE_SECONDS": "1", "MOORAGE_MESSAGE_LEASE_SECONDS": "1"}


@pytest.fixture
async def parts(task_settings: TaskSettings) -> AsyncIterator[Parts]:
    opened = await Parts.open(msgspec.structs.replace(task_settings, lease_seconds=1.0))
    await migrate.upgrade(opened.catalog)
    yield opened
    await opened.close()


async def send(parts: Parts, actor: str, **arguments: Any) -> str:
    """Sends a task that lives in Redis only."""
    task_id, now = str(uuid.uuid4()), parts.clock.now()
    record = Record(task_id=task_id, owner="ann", actor=actor, queue="upkeep", durable=False, created_at=now)
    await parts.dispatcher.send(record, arguments, {"request_id": "r"})
    return task_id


async def accept(parts: Parts, actor: str) -> str:
    """Accepts a durable task and sends its message."""
    task_id, now = str(uuid.uuid4()), parts.clock.now()
    row = TaskRow(id=task_id, owner="ann", actor=actor, queue="upkeep", arguments={}, due_at=now, created_at=now)
    async with parts.catalog.write() as transaction:
        await rows.add(transaction, row)
    assert await parts.dispatcher.hint(row)
    return task_id


async def has_died(worker: RealWorker) -> None:
    await eventually(lambda: worker.process.poll() is not None, FINISH_SECONDS)


def remote(parts: Parts) -> Any:
    """What an operator's `celery control` talks through."""
    return Celery("operator", broker=celery_url(parts.settings.redis_url)).control


@pytest.mark.parametrize("pool", ["asyncio", "prefork"])
async def test_a_running_task_that_is_revoked_says_so_wherever_it_is_looked_up(parts: Parts, pool: str) -> None:
    async with running_worker(parts, application=ROUGH, MOORAGE_POOL=pool) as worker:
        fleeting, durable = await send(parts, "sleep", seconds=3_600), await accept(parts, "wait_durably")
        for task_id in (fleeting, durable):
            await record_in(parts, task_id, "STARTED", "PROGRESS")
            remote(parts).revoke(task_id, terminate=True)
            ended = await record_in(parts, task_id, "REVOKED")
            assert ended.finished_at is not None
        row = await row_of(parts, durable)
        assert (row.state, row.lease_token) == ("REVOKED", None)
        assert await worker.stop(FINISH_SECONDS) == 0
    assert await parts.broker.llen("upkeep") == await parts.broker.hlen("unacked") == 0


async def test_a_task_that_is_revoked_before_it_runs_never_does(parts: Parts) -> None:
    async with running_worker(parts, "-c", "1") as worker:
        first = await send(parts, "sleep", seconds=3_600)
        await record_in(parts, first, "STARTED", "PROGRESS")
        waiting = await send(parts, "echo", message="hello")
        for task_id in (waiting, first):
            remote(parts).revoke(task_id, terminate=True)
        assert (await record_in(parts, waiting, "REVOKED", "SUCCESS")).starts == 0
        await record_in(parts, first, "REVOKED")
        assert await worker.stop(FINISH_SECONDS) == 0


async def test_a_task_that_kills_its_worker_twice_dies_alone_and_its_neighbours_live(parts: Parts) -> None:
    fleeting, durable = await send(parts, "kill", why="to test"), await accept(parts, "kill_durably")
    neighbours = [await send(parts, diagnostics.sleep.name, seconds=0.5) for _ in range(2)]
    for _ in range(2):
        async with running_worker(parts, application=ROUGH, **LEASES) as worker:
            await has_died(worker)
    async with running_worker(parts, application=ROUGH, **LEASES) as worker:
        for task_id in (fleeting, durable):
            record = await record_in(parts, task_id, "FAILURE")
            assert record.error is not None
            assert record.error.type == "WorkerKilled"
            assert record.starts <= 3, "the first murderer may have been quicker than the second could start"
            row = await row_of(parts, task_id)
            assert (row.state, row.error, row.owner) == ("FAILURE", record.error, "ann")
            assert "SIGKILL" in record.error.message
        assert (await row_of(parts, fleeting)).arguments == {"why": "to test"}, "so that it can be tried again"
        for task_id in neighbours:
            await record_in(parts, task_id, "SUCCESS")
        assert await worker.stop(FINISH_SECONDS) == 0


async def test_a_stock_worker_finds_what_was_delayed_by_a_lossless_one(parts: Parts) -> None:
    told: dict[str, Any] = {"task_id": "t", "actor": "echo", "queue": "upkeep", "arguments": {"message": "x"}}
    raw = encode(Outgoing(**told, context={}, created_at=1.0, enqueued_at=1.0))
    await parts.broker.zadd("upkeep.delayed", {raw: parts.clock.now() + 3_600})
    async with running_worker(parts, MOORAGE_TRANSPORT="stock", MOORAGE_POOL="threads") as worker:
        assert (await record_in(parts, "t", "SUCCESS")).result == "x"
        assert await worker.stop(FINISH_SECONDS) == 0
    assert not await parts.broker.exists("upkeep.delayed")
