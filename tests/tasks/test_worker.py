from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from tasks.app import app, configure
from tasks.catalog import migrate
from tasks.catalog import tasks as rows
from tasks.catalog.tasks import TaskRow
from tasks.jobs import diagnostics
from tasks.parts import Parts
from tasks.reconcile import Reconciler
from tasks.records import Record
from tasks.redis_address import celery_url
from tasks.settings import TaskSettings
from tests.tasks.real_worker import accept_upload, record_in, running_worker
from tests.waiting import eventually

FINISH_SECONDS = 30.0
GRACE_SECONDS = 0.5
HELLO_CID = "bafkreibm6jg3ux5qumhcn2b3flc3tyu6dmlb4xa7u5bf44yegnrjhc4yeq"
LARGE_BYTES = 1 << 30

pools = pytest.mark.parametrize("pool", ["asyncio", "threads", "prefork"])


@pytest.fixture
async def parts(task_settings: TaskSettings) -> AsyncIterator[Parts]:
    """Parts whose leases and patience are short."""
    opened = await Parts.open(msgspec.structs.replace(task_settings, lease_seconds=1.0, resend_after_seconds=0.5))
    await migrate.upgrade(opened.catalog)
    yield opened
    await opened.close()


async def row_in(parts: Parts, task_id: str, *states: str, deadline_seconds: float = FINISH_SECONDS) -> TaskRow:
    """The row, once it is in one of `states`."""

    async def look() -> TaskRow | None:
        async with parts.catalog.read() as connection:
            row = await rows.get(connection, task_id)
        return row if row is not None and row.state in states else None

    found = await eventually(look, deadline_seconds)
    assert found is not None
    return found


async def send(parts: Parts, task_id: str, actor: Any, **arguments: Any) -> None:
    record = Record(
        task_id=task_id,
        owner="ann",
        actor=actor.name,
        queue=actor.queue,
        durable=False,
        created_at=parts.clock.now(),
    )
    await parts.dispatcher.send(record, arguments, {"request_id": f"request-of-{task_id}"})


@pools
async def test_an_accepted_upload_becomes_content(parts: Parts, pool: str) -> None:
    async with running_worker(parts, MOORAGE_POOL=pool) as worker:
        row = await accept_upload(parts)
        assert await parts.dispatcher.hint(row)
        done = await row_in(parts, row.id, "SUCCESS", "FAILURE")
        assert done.result == {
            "cid": HELLO_CID,
            "filename": "a.bin",
            "size_bytes": 5,
            "content_type": "text/plain",
            "profile": "unixfs-v1-2025",
        }
        assert (await record_in(parts, row.id, "SUCCESS")).result == done.result
        assert not parts.staging.sealed_path(row.id).exists()
        await parts.dispatcher.hint(row)
        await eventually(lambda: events_of(worker.log_lines(), row.id).count("task.not_claimed") == 1)
        assert await worker.stop(FINISH_SECONDS) == 0
    mine = [line for line in worker.log_lines() if line.get("task_id") == row.id]
    assert {"task.started", "upload.ingested", "task.succeeded"} <= {line["event"] for line in mine}
    assert {line.get("request_id") for line in mine} == {f"request-of-{row.id}"}


def events_of(lines: list[dict[str, Any]], task_id: str) -> list[str]:
    return [line["event"] for line in lines if line.get("task_id") == task_id]


async def test_celery_s_messages_and_ours_run_side_by_side_and_are_retried_or_die(parts: Parts) -> None:
    configure(parts.settings)
    async with running_worker(parts):
        await send(parts, "ours", diagnostics.add, x=1, y=2)
        await send(parts, "mended", diagnostics.fail, times=1)
        await send(parts, "malformed", diagnostics.add, x="one")
        with app.connection_for_write(celery_url(parts.settings.redis_url)) as connection:
            options: dict[str, Any] = {"connection": connection, "kwargs": {"x": 3, "y": 4}, "queue": "upkeep"}
            app.tasks["add"].apply_async(task_id="celery-s", **options)
        assert (await record_in(parts, "ours", "SUCCESS", "FAILURE")).result == 3
        assert (await record_in(parts, "celery-s", "SUCCESS", "FAILURE")).result == 7
        dead = await row_in(parts, "malformed", "FAILURE")
        assert dead.error is not None
        assert dead.error.type == "InvalidArguments"
        mended = await record_in(parts, "mended", "SUCCESS", "FAILURE")
        assert (mended.state, mended.result, mended.starts) == ("SUCCESS", 1, 2)


@pools
async def test_a_stopping_worker_hands_back_what_takes_too_long(parts: Parts, pool: str) -> None:
    options = {"MOORAGE_SHUTDOWN_GRACE_SECONDS": str(GRACE_SECONDS), "MOORAGE_POOL": pool}
    async with running_worker(parts, **options) as worker:
        await send(parts, "long", diagnostics.sleep, seconds=3_600)
        await record_in(parts, "long", "STARTED", "PROGRESS")
        assert await worker.stop(GRACE_SECONDS + 10) == 0
    assert (await record_in(parts, "long", "PENDING")).starts == 1
    assert await parts.broker.llen("upkeep") == 1
    assert await parts.broker.hlen("unacked") == 0
    assert "task.failed" not in events_of(worker.log_lines(), "long")


async def test_what_a_killed_worker_was_doing_is_finished_by_the_next(parts: Parts) -> None:
    lease = {"MOORAGE_LEASE_SECONDS": str(parts.settings.lease_seconds)}
    row = await accept_upload(parts, size_bytes=LARGE_BYTES)
    async with running_worker(parts, **lease) as worker:
        await parts.dispatcher.hint(row)
        await row_in(parts, row.id, "STARTED")
        worker.kill()
    assert (await row_in(parts, row.id, "STARTED")).starts == 1, "killed in the middle"
    async with running_worker(parts, **lease) as worker:

        async def reconcile() -> bool:
            return await Reconciler(parts).run() == 1

        await eventually(reconcile)
        done = await row_in(parts, row.id, "SUCCESS", "FAILURE")
        assert (done.state, done.starts, done.losses) == ("SUCCESS", 2, 1)
        assert done.result["size_bytes"] == LARGE_BYTES
        assert await worker.stop(FINISH_SECONDS) == 0
