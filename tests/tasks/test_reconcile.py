from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from msgspec.structs import replace

from tasks.catalog import migrate
from tasks.catalog import tasks as rows
from tasks.catalog.tasks import TaskError, TaskRow
from tasks.clock import ManualClock
from tasks.errors import RecordsUnavailable
from tasks.parts import Parts
from tasks.poison import MOST_LOSSES
from tasks.queues import QUEUES
from tasks.reconcile import Reconciler
from tasks.settings import TaskSettings
from tests.real_valkey import RealValkey

NewRow = Callable[..., TaskRow]
LEASE_SECONDS = 15.0


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(100.0)


@pytest.fixture
async def parts(task_settings: TaskSettings, clock: ManualClock) -> AsyncIterator[Parts]:
    opened = await Parts.open(task_settings, clock)
    await migrate.upgrade(opened.catalog)
    yield opened
    await opened.close()


@pytest.fixture
def reconciler(parts: Parts) -> Reconciler:
    return Reconciler(parts)


async def accept(parts: Parts, *accepted: TaskRow, hint: bool = True) -> None:
    async with parts.catalog.write() as transaction:
        for row in accepted:
            await rows.add(transaction, row)
    for row in accepted:
        if hint:
            assert await parts.dispatcher.hint(row)


async def claim(parts: Parts, row: TaskRow, token: str = "of a worker") -> TaskRow:
    async with parts.catalog.write() as transaction:
        claimed = await rows.claim(transaction, row.id, token, parts.clock.now(), LEASE_SECONDS)
    assert claimed is not None
    return claimed


async def row_of(parts: Parts, row: TaskRow) -> TaskRow:
    async with parts.catalog.read() as connection:
        found = await rows.get(connection, row.id)
    assert found is not None
    return found


async def sent(parts: Parts, queue: str = "upload") -> list[str]:
    found: Any = await parts.broker.lrange(queue, 0, -1)
    return [json.loads(raw)["headers"]["id"] for raw in reversed(found)]


async def take_all(parts: Parts, *queues: str) -> None:
    """What a worker does that takes every message and dies."""
    await parts.broker.delete(*(queues or QUEUES))


async def test_a_fresh_row_is_given_time_for_its_message(
    parts: Parts, reconciler: Reconciler, clock: ManualClock, new_row: NewRow
) -> None:
    await accept(parts, new_row(), hint=False)
    clock.advance(4.9)
    assert await reconciler.run() == 0
    clock.advance(0.2)
    assert await reconciler.run() == 1


async def test_a_row_whose_message_is_gone_is_sent_again(
    parts: Parts, reconciler: Reconciler, clock: ManualClock, new_row: NewRow
) -> None:
    row = new_row(context={"request_id": "r"}, arguments={"filename": "a"})
    await accept(parts, row)
    await take_all(parts)
    clock.advance(6)
    assert await reconciler.run() == 1
    assert await sent(parts) == [row.id]
    again = await row_of(parts, row)
    assert (again.state, again.dispatches, again.dispatched_at) == ("PENDING", 1, clock.now())


async def test_a_row_whose_message_still_waits_is_not(
    parts: Parts, reconciler: Reconciler, clock: ManualClock, new_row: NewRow
) -> None:
    first, second = new_row(), new_row(due_at=103.0)
    await accept(parts, first)
    clock.advance(3)
    await accept(parts, second)
    clock.advance(3_600)
    assert await reconciler.run() == 0
    await parts.broker.rpop("upload")
    assert await reconciler.run() == 1, "the first one's message was taken, and the first one does not run"
    assert await sent(parts) == [second.id, first.id]


async def test_messages_sent_in_vain_are_sent_ever_more_rarely(
    parts: Parts, reconciler: Reconciler, clock: ManualClock, new_row: NewRow
) -> None:
    await accept(parts, new_row())
    for patience_seconds in (5, 10, 20, 40, 80, 160, 320, 320, 320):
        await take_all(parts)
        clock.advance(patience_seconds - 0.1)
        assert await reconciler.run() == 0
        clock.advance(0.2)
        assert await reconciler.run() == 1


async def test_what_runs_is_left_alone_until_its_lease_runs_out(
    parts: Parts, reconciler: Reconciler, clock: ManualClock, new_row: NewRow
) -> None:
    row = new_row()
    await accept(parts, row)
    await take_all(parts)
    await claim(parts, row)
    clock.advance(LEASE_SECONDS)
    assert await reconciler.run() == 0
    clock.advance(0.1)
    assert await reconciler.run() == 1
    again = await row_of(parts, row)
    assert (again.state, again.losses, again.starts, again.dispatches) == ("PENDING", 1, 1, 1)
    assert await sent(parts) == [row.id]
    record = await parts.records.get(row.id)
    assert record is not None
    assert record.state == "PENDING", "and a poller sees that it waits"


async def test_a_retry_is_looked_for_only_when_it_is_due(
    parts: Parts, reconciler: Reconciler, clock: ManualClock, new_row: NewRow
) -> None:
    row = new_row()
    await accept(parts, row)
    await claim(parts, row, "token")
    async with parts.catalog.write() as transaction:
        await rows.retry(transaction, row.id, "token", TaskError("X", "x"), clock.now() + 60)
    await take_all(parts)
    clock.advance(64)
    assert await reconciler.run() == 0
    clock.advance(2)
    assert await reconciler.run() == 1


async def test_after_the_broker_was_flushed_everything_is_sent_again(
    parts: Parts, reconciler: Reconciler, clock: ManualClock, new_row: NewRow
) -> None:
    accepted = [new_row() for _ in range(15)] + [new_row(queue="pinning", actor="pin") for _ in range(5)]
    await accept(parts, *accepted)
    await parts.redis.flushall()
    clock.advance(6)
    assert await reconciler.run() == 20
    assert {*await sent(parts), *await sent(parts, "pinning")} == {row.id for row in accepted}
    assert await reconciler.run() == 0


async def test_a_queue_that_is_stuck_does_not_hide_what_another_has_lost(
    parts: Parts, reconciler: Reconciler, clock: ManualClock, new_row: NewRow
) -> None:
    lost = new_row(queue="pinning", actor="pin", due_at=101.0)
    await accept(parts, *(new_row() for _ in range(600)))
    clock.advance(1)
    await accept(parts, lost)
    await take_all(parts, "pinning")
    clock.advance(60)
    assert await reconciler.run() == 1
    assert await sent(parts, "pinning") == [lost.id]


async def test_a_backlog_of_sent_tasks_does_not_hide_what_was_lost_behind_it(
    parts: Parts, reconciler: Reconciler, clock: ManualClock, new_row: NewRow
) -> None:
    await accept(parts, *(new_row() for _ in range(1_100)), hint=False)
    clock.advance(6)
    assert [await reconciler.run() for _ in range(4)] == [500, 500, 100, 0]


async def test_a_task_that_kills_its_workers_is_given_up_where_nothing_runs_alone(
    parts: Parts, clock: ManualClock, new_row: NewRow
) -> None:
    reconciler = Reconciler(replace(parts, settings=replace(parts.settings, pool="threads")))
    row = new_row()
    await accept(parts, row)
    for _ in range(MOST_LOSSES):
        assert (await row_of(parts, row)).state == "PENDING"
        await claim(parts, row)
        await take_all(parts)
        clock.advance(LEASE_SECONDS + 1)
        await reconciler.run()
    dead, record = await row_of(parts, row), await parts.records.get(row.id)
    assert dead.error is not None
    assert (dead.state, dead.error.type, dead.finished_at) == ("FAILURE", "WorkerLost", clock.now())
    assert record is not None
    assert (record.state, record.error) == ("FAILURE", dead.error)
    clock.advance(3_600)
    assert await reconciler.run() == 0


async def test_a_task_whose_workers_die_is_never_given_up_for_that_alone_on_the_asyncio_pool(
    parts: Parts, reconciler: Reconciler, clock: ManualClock, new_row: NewRow
) -> None:
    row = new_row()
    await accept(parts, row)
    for _ in range(MOST_LOSSES + 5):
        await claim(parts, row)
        await take_all(parts)
        clock.advance(LEASE_SECONDS + 1)
        await reconciler.run()
    assert (await row_of(parts, row)).state == "PENDING"


async def test_starts_that_ended_in_good_order_are_not_held_against_a_task(
    parts: Parts, reconciler: Reconciler, clock: ManualClock, new_row: NewRow
) -> None:
    row = new_row()
    await accept(parts, row)
    for number in range(MOST_LOSSES + 5):
        await claim(parts, row, f"token {number}")
        async with parts.catalog.write() as transaction:
            await rows.release(transaction, row.id, f"token {number}", clock.now())
    await claim(parts, row, "the first that dies")
    clock.advance(LEASE_SECONDS + 1)
    await reconciler.run()
    assert (await row_of(parts, row)).state == "PENDING"


async def test_a_finished_task_is_nobody_s_business(
    parts: Parts, reconciler: Reconciler, clock: ManualClock, new_row: NewRow
) -> None:
    await accept(parts, *(new_row(state=state) for state in ("SUCCESS", "FAILURE", "REVOKED")), hint=False)
    clock.advance(3_600)
    assert await reconciler.run() == 0


async def test_without_a_broker_nothing_is_lost_and_with_it_everything_is_sent(
    own_valkey: RealValkey, task_settings: TaskSettings, new_row: NewRow, clock: ManualClock
) -> None:
    settings = TaskSettings(data=task_settings.data, redis_url=own_valkey.url())
    parts = await Parts.open(settings, clock)
    await migrate.upgrade(parts.catalog)
    waits, orphan = new_row(), new_row()
    await accept(parts, waits, orphan)
    await claim(parts, orphan)
    own_valkey.kill()
    clock.advance(LEASE_SECONDS + 6)
    with pytest.raises(RecordsUnavailable):
        await Reconciler(parts).run()
    own_valkey.start()
    clock.advance(6)
    assert await Reconciler(parts).run() == 2
    assert set(await sent(parts)) == {waits.id, orphan.id}
    await parts.close()
