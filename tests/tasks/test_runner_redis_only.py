from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from celery.exceptions import Ignore, Reject, Retry
from msgspec.structs import replace
from structlog.testing import capture_logs

from tasks.catalog import migrate
from tasks.catalog import tasks as rows
from tasks.errors import DiskFull
from tasks.parts import Parts
from tasks.records import Record
from tasks.settings import TaskSettings
from tests.real_valkey import RealValkey
from tests.tasks.running import (
    POLICY,
    Waiting,
    break_down,
    double,
    make_actor,
    messages_in,
    must_not_run,
    record_of,
    row_of,
    run,
)
from tests.waiting import eventually


async def test_a_redis_only_task_leaves_no_row(parts: Parts) -> None:
    assert await run(parts, make_actor(double, durable=False), "t", number=4) == 8
    record = await record_of(parts, "t")
    assert (record.state, record.result, record.owner, record.durable) == ("SUCCESS", 8, "ann", False)
    async with parts.catalog.read() as connection:
        assert await rows.get(connection, "t") is None


async def test_a_redis_only_task_is_sent_again_after_its_pause(parts: Parts) -> None:
    with pytest.raises(Retry):
        await run(parts, make_actor(break_down, durable=False), "t")
    record = await record_of(parts, "t")
    assert (record.state, record.attempt) == ("RETRY", 1)
    [headers] = await messages_in(parts)
    assert (headers["id"], headers["retries"]) == ("t", 1)
    assert headers["eta"] is not None
    assert headers["moorage_context"] == {"owner_id": "ann", "request_id": "r"}


async def test_a_redis_only_task_that_dies_becomes_a_dead_letter(parts: Parts) -> None:
    with pytest.raises(DiskFull):
        await run(parts, make_actor(break_down, durable=False), "t", attempt=2)
    row, record = await row_of(parts, "t"), await record_of(parts, "t")
    assert (row.state, row.owner, row.queue, row.attempt) == ("FAILURE", "ann", "upload", 2)
    assert row.context == {"owner_id": "ann", "request_id": "r"}
    assert record.state == "FAILURE"
    assert row.error == record.error is not None


async def test_a_redis_only_task_s_second_delivery_does_nothing(parts: Parts) -> None:
    await run(parts, make_actor(double, durable=False), "t", number=4)
    with pytest.raises(Ignore):
        await run(parts, make_actor(must_not_run, durable=False), "t")


async def test_a_start_after_a_worker_s_death_forgets_what_that_had_reported(parts: Parts) -> None:
    dead = Record(task_id="t", owner="ann", actor="a", queue="upload", durable=False, created_at=1.0, starts=1)
    await parts.records.write(replace(dead, state="PROGRESS", progress=60.0, message="stage 3 of 5"))
    await run(parts, make_actor(double, durable=False), "t", number=4)
    record = await record_of(parts, "t")
    assert (record.state, record.starts, record.message) == ("SUCCESS", 2, "")


async def test_a_redis_only_task_runs_though_its_record_is_out_of_reach(
    own_valkey: RealValkey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.ledger.PATIENCE_SECONDS", 0.1)
    parts = await Parts.open(TaskSettings(data=tmp_path, redis_url=own_valkey.url()))
    own_valkey.kill()
    assert await run(parts, make_actor(double, durable=False), "t", number=4) == 8
    await parts.close()


@pytest.mark.parametrize(("attempt", "end"), [(0, "RETRY"), (POLICY.max_retries, "FAILURE")])
async def test_a_redis_only_task_s_failure_is_told_when_redis_is_back(
    own_valkey: RealValkey, tmp_path: Path, attempt: int, end: str
) -> None:
    async with open_parts(own_valkey, tmp_path) as parts:
        await ends_without_redis(own_valkey, run(parts, make_actor(break_down, durable=False), "t", attempt=attempt))
        assert (await record_of(parts, "t")).state == end
        assert len(await messages_in(parts)) == (end == "RETRY")


async def test_a_redis_only_task_s_result_is_told_when_redis_is_back(own_valkey: RealValkey, tmp_path: Path) -> None:
    async with open_parts(own_valkey, tmp_path) as parts:
        await ends_without_redis(own_valkey, run(parts, make_actor(double, durable=False), "t", number=4))
        record = await record_of(parts, "t")
        assert (record.state, record.result) == ("SUCCESS", 8)


@asynccontextmanager
async def open_parts(server: RealValkey, folder: Path) -> AsyncIterator[Parts]:
    parts = await Parts.open(TaskSettings(data=folder, redis_url=server.url()))
    await migrate.upgrade(parts.catalog)
    yield parts
    await parts.close()


async def ends_without_redis(server: RealValkey, running: Coroutine[Any, Any, Any]) -> None:
    """Kills the server, lets the task come to its end, and starts the server once that has found it away."""
    server.kill()
    with capture_logs() as said:
        ending = asyncio.create_task(running)
        await eventually(lambda: "task.waits_for_redis" in {line["event"] for line in said})
    server.start()
    await asyncio.gather(ending, return_exceptions=True)


async def test_a_stopping_worker_gives_its_redis_only_task_back(parts: Parts) -> None:
    waiting = Waiting()
    running = asyncio.create_task(run(parts, make_actor(waiting.body(), durable=False), "t"))
    await waiting.begun.wait()
    running.cancel()
    with pytest.raises(Reject) as rejected:
        await running
    assert vars(rejected.value)["requeue"]
    assert (await record_of(parts, "t")).state == "PENDING"
    assert await messages_in(parts) == []
    assert await run(parts, make_actor(double, durable=False), "t", number=4) == 8
    assert (await record_of(parts, "t")).starts == 2


async def test_the_schedule_s_jobs_leave_no_record(parts: Parts) -> None:
    assert await run(parts, make_actor(double, durable=False, keep_result=False), "t", number=1) == 2
    assert await parts.records.get("t") is None


async def test_a_job_of_the_schedule_that_is_stopped_has_not_failed(parts: Parts) -> None:
    waiting = Waiting()
    job = make_actor(waiting.body(), durable=False, keep_result=False)
    running = asyncio.create_task(run(parts, job, "t"))
    await waiting.begun.wait()
    running.cancel()
    with pytest.raises(Ignore):
        await running
    assert await messages_in(parts) == [], "beat sends the next"


async def test_a_next_try_that_redis_does_not_take_in_time_is_made_of_the_same_message(
    own_valkey: RealValkey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.ledger.PATIENCE_SECONDS", 0.1)
    async with open_parts(own_valkey, tmp_path) as parts:
        own_valkey.kill()
        with pytest.raises(Reject, match="True"):  # back into its queue
            await run(parts, make_actor(break_down, durable=False), "t")


async def test_a_dead_letter_that_the_catalog_does_not_take_is_written_the_next_time(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def has_no_room(*_: Any) -> None:
        raise DiskFull

    with monkeypatch.context() as full:
        full.setattr(rows, "add", has_no_room)
        with pytest.raises(Reject, match="True"):  # back into its queue
            await run(parts, make_actor(break_down, durable=False), "t", attempt=POLICY.max_retries)
    for _ in range(2):  # the second time as if its worker had died before the record said so
        with pytest.raises(DiskFull):
            await run(parts, make_actor(break_down, durable=False), "t", attempt=POLICY.max_retries)
        assert (await row_of(parts, "t")).state == (await record_of(parts, "t")).state == "FAILURE"
        await parts.redis.flushdb()
