from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from celery.exceptions import Ignore, Retry
from sqlalchemy import text

from tasks.catalog import migrate
from tasks.catalog import tasks as rows
from tasks.catalog.engine import Catalog
from tasks.errors import DiskFull
from tasks.job import Job
from tasks.leases import LeaseKeeper
from tasks.parts import Parts
from tasks.settings import TaskSettings
from tests.real_valkey import RealValkey
from tests.tasks.running import (
    NewRow,
    Waiting,
    accept,
    break_down,
    double,
    make_actor,
    messages_in,
    must_not_run,
    row_of,
    run,
)
from tests.waiting import eventually


@pytest.fixture
async def brief_leases(task_settings: TaskSettings) -> AsyncIterator[Parts]:
    """Parts whose leases last a sixth of a second."""
    opened = await Parts.open(msgspec.structs.replace(task_settings, lease_seconds=0.15))
    await migrate.upgrade(opened.catalog)
    yield opened
    await opened.close()


async def test_a_lease_is_renewed_for_as_long_as_the_work_takes(brief_leases: Parts, new_row: NewRow) -> None:
    waiting = Waiting()
    task_id = await accept(brief_leases, new_row())
    running = asyncio.create_task(run(brief_leases, make_actor(waiting.body()), task_id))
    await waiting.begun.wait()
    first_expiry = (await row_of(brief_leases, task_id)).lease_expires_at
    assert first_expiry is not None

    async def is_renewed() -> bool:
        expires_at = (await row_of(brief_leases, task_id)).lease_expires_at
        return expires_at is not None and expires_at > first_expiry + 0.3

    await eventually(is_renewed)
    waiting.may_end.set()
    assert await running == "done"


async def test_who_loses_the_lease_stops_and_commits_nothing(brief_leases: Parts, new_row: NewRow) -> None:
    waiting = Waiting()
    task_id = await accept(brief_leases, new_row())
    running = asyncio.create_task(run(brief_leases, make_actor(waiting.body()), task_id))
    await waiting.begun.wait()
    async with brief_leases.catalog.write() as transaction:
        taken = await rows.claim(transaction, task_id, "another", brief_leases.clock.now() + 99, 99)
    with pytest.raises(Ignore):
        await running
    assert waiting.cancelled
    assert await row_of(brief_leases, task_id) == taken
    assert await messages_in(brief_leases) == [], "it is not this worker's to hand back"


async def test_a_result_that_comes_after_the_lease_was_lost_is_refused(parts: Parts, new_row: NewRow) -> None:
    waiting = Waiting()
    task_id = await accept(parts, new_row())
    running = asyncio.create_task(run(parts, make_actor(waiting.body()), task_id))
    await waiting.begun.wait()
    async with parts.catalog.write() as transaction:
        taken = await rows.claim(transaction, task_id, "another", parts.clock.now() + 99, 99)
    waiting.may_end.set()
    with pytest.raises(Ignore):
        await running
    row = await row_of(parts, task_id)
    assert row == taken
    assert row.owner == "ann", "the effect was not committed"


@pytest.fixture
async def impatient(parts: Parts) -> AsyncIterator[Parts]:
    """Parts that wait a tenth of a second for a locked catalog."""
    catalog = Catalog(parts.settings.effective_database_url, busy_timeout_seconds=0.1)
    leases = LeaseKeeper(catalog, parts.clock, parts.settings.lease_seconds)
    yield msgspec.structs.replace(parts, catalog=catalog, leases=leases)
    await leases.close()
    await catalog.close()


async def test_what_cannot_be_begun_is_left_for_later(impatient: Parts, parts: Parts, new_row: NewRow) -> None:
    task_id = await accept(parts, new_row())
    async with parts.catalog.write() as lock:
        await lock.execute(text("SELECT 1"))
        with pytest.raises(Ignore):
            await run(impatient, make_actor(must_not_run), task_id)
    assert (await row_of(parts, task_id)).state == "PENDING"


@pytest.mark.parametrize("outcome", ["success", "retry"])
async def test_what_cannot_be_written_down_is_run_again_later(
    impatient: Parts, parts: Parts, new_row: NewRow, outcome: str
) -> None:
    waiting = Waiting()
    task_id = await accept(parts, new_row())
    first = make_actor(waiting.body() if outcome == "success" else _failing_after(waiting))
    running = asyncio.create_task(run(impatient, first, task_id))
    await waiting.begun.wait()
    async with parts.catalog.write() as lock:
        await lock.execute(text("SELECT 1"))
        waiting.may_end.set()
        with pytest.raises(Ignore):
            await running
    row = await row_of(parts, task_id)
    assert (row.state, row.owner, row.attempt) == ("STARTED", "ann", 0)
    async with parts.catalog.write() as transaction:
        await rows.release_expired(transaction, parts.clock.now() + 99)
    assert await run(parts, make_actor(double), task_id, number=1) == 2


def _failing_after(waiting: Waiting) -> Any:
    wait = waiting.body()

    async def fail(job: Job) -> None:
        await wait(job)
        raise DiskFull

    return fail


async def test_without_redis_the_work_is_done_all_the_same(
    own_valkey: RealValkey, tmp_path: Path, new_row: NewRow
) -> None:
    parts = await Parts.open(TaskSettings(data=tmp_path, redis_url=own_valkey.url()))
    await migrate.upgrade(parts.catalog)
    task_id, failing_id = await accept(parts, new_row()), await accept(parts, new_row())
    own_valkey.kill()
    assert await run(parts, make_actor(double), task_id, number=2) == 4
    with pytest.raises(Retry):
        await run(parts, make_actor(break_down), failing_id)
    assert (await row_of(parts, task_id)).result == 4
    assert (await row_of(parts, failing_id)).state == "RETRY"
    await parts.close()
