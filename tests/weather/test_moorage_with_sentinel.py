from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from celery.app.backends import by_url

from tasks.actor import Actor
from tasks.app import app, configure
from tasks.catalog import migrate
from tasks.errors import RecordsUnavailable
from tasks.heartbeat import read_signs
from tasks.jobs import diagnostics
from tasks.parts import Parts
from tasks.record_cache import RecordCache
from tasks.records import Record
from tasks.settings import TaskSettings
from tasks.totals import TotalsStore, read_totals
from tests.tasks.real_worker import running_worker
from tests.waiting import eventually
from tests.weather.sentinels import Watched

TASKS = 300
EVERY = 6
"""One task in so many fails at first, and is sent again after a second."""
TASK_SECONDS = 0.2
SAFE_SECONDS = 60.0
PASSWORD = "a@b:c/d%3F&e"
"""Of servers and sentinels; all of its signs mean something in a URL."""


@pytest.fixture
async def watched(folder: Path) -> AsyncIterator[Watched]:
    group = Watched(folder, PASSWORD)
    group.start()
    await eventually(group.is_complete, 30)
    yield group
    group.remove()


@pytest.fixture
async def parts(watched: Watched, tmp_path: Path) -> AsyncIterator[Parts]:
    """What the API works with, given one address of all sentinels."""
    opened = await Parts.open(TaskSettings(data=tmp_path / "data", redis_url=watched.address()))
    await migrate.upgrade(opened.catalog)
    yield opened
    await opened.close()


@pytest.fixture
async def cache(parts: Parts) -> AsyncIterator[RecordCache]:
    opened = RecordCache(parts.redis, parts.records)
    yield opened
    await opened.close()


@pytest.fixture
def totals(watched: Watched) -> Iterator[TotalsStore]:
    opened = TotalsStore.connect(watched.address())
    yield opened
    opened.close()


async def submit(parts: Parts, actor: Actor = diagnostics.sleep, **arguments: Any) -> str:
    record = Record(
        task_id=str(uuid.uuid4()),
        owner="ann",
        actor=actor.name,
        queue=actor.queue,
        durable=False,
        created_at=parts.clock.now(),
    )
    await parts.dispatcher.send(record, actor.check(arguments or {"seconds": TASK_SECONDS}), {})
    return record.task_id


async def finished(cache: RecordCache, task_ids: list[str]) -> list[Record]:
    found = await asyncio.gather(*(cache.get(task_id) for task_id in task_ids))
    return [record for record in found if record is not None and record.finished]


async def all_finished(cache: RecordCache, task_ids: list[str]) -> list[Record]:
    """All their records, once the tasks have ended; a server that is away for now is waited for."""

    async def look() -> list[Record] | None:
        try:
            done = await finished(cache, task_ids)
        except RecordsUnavailable as error:
            raise AssertionError("nobody to ask") from error
        assert len(done) == len(task_ids), f"{len(done)} of {len(task_ids)} have ended"
        return done

    done = await eventually(look, SAFE_SECONDS)
    assert done is not None
    return done


@pytest.mark.slow
async def test_moorage_follows_its_master_in_the_middle_of_its_work(
    watched: Watched, parts: Parts, cache: RecordCache, totals: TotalsStore
) -> None:
    task_ids = [
        await (submit(parts) if number % EVERY else submit(parts, diagnostics.fail, times=1)) for number in range(TASKS)
    ]
    await asyncio.to_thread(totals.add, {"before": 1.0})
    master = watched.master()
    assert await asyncio.to_thread(master.client().wait, 2, 10_000) == 2, "the replicas have all of it"
    async with running_worker(parts, "-c", "20") as worker:

        async def some_ended() -> bool:
            return len(await finished(cache, task_ids)) > TASKS // 10

        await eventually(some_ended, SAFE_SECONDS)
        assert len(await finished(cache, task_ids)) < TASKS, "it dies in the middle"
        master.kill()
        with pytest.raises(RecordsUnavailable):
            await submit(parts)
        await eventually(lambda: watched.have_another_master_than(master), 30)
        done = await all_finished(cache, task_ids)
        assert {record.state for record in done} == {"SUCCESS"}
        assert {record.result for record in done} == {TASK_SECONDS, 1}

        later = await submit(parts)
        assert [record.task_id for record in await all_finished(cache, [later])] == [later]
        assert await read_signs(parts.redis, parts.clock.now()), "the worker gives signs of life"

        said = str(worker.log_lines())
        assert "Connected to sentinel://" in said
        assert not [secret for secret in (PASSWORD, quote(PASSWORD, safe="")) if secret in said]

    await asyncio.to_thread(totals.add, {"after": 1.0})
    assert {"before", "after"} <= (await read_totals(parts.redis)).keys()
    assert await asyncio.to_thread(celery_results, parts.settings, [*task_ids, later]) == {
        ("SUCCESS", TASK_SECONDS),
        ("SUCCESS", 1),
    }


def celery_results(settings: TaskSettings, task_ids: list[str]) -> set[tuple[str, Any]]:
    """What any program finds out that asks Celery for the outcomes."""
    configure(settings)
    found_by_url: Any = by_url(app.conf.result_backend, app.loader)
    kind, url = found_by_url
    backend = kind(app=app, url=url)
    found = [backend.get_task_meta(task_id) for task_id in task_ids]
    backend.client.close()
    return {(meta["status"], meta["result"]) for meta in found}
