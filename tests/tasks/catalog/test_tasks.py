from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tasks.catalog import tasks as rows
from tasks.catalog.engine import Catalog
from tasks.catalog.tasks import State, TaskError, TaskRow

NewRow = Callable[..., TaskRow]
NOW = 1_000.0
LEASE_SECONDS = 15.0
ERROR = TaskError("DiskFull", "the data volume is full")


async def put(catalog: Catalog, *accepted: TaskRow) -> None:
    async with catalog.write() as transaction:
        for row in accepted:
            await rows.add(transaction, row)


def token_of(row: TaskRow) -> str:
    return row.id[::-1]


async def row_of(catalog: Catalog, task_id: str) -> TaskRow:
    async with catalog.read() as connection:
        found = await rows.get(connection, task_id)
    assert found is not None
    return found


async def claim(catalog: Catalog, task_id: str, token: str = "mine", now: float = NOW) -> TaskRow | None:
    async with catalog.write() as transaction:
        return await rows.claim(transaction, task_id, token, now, LEASE_SECONDS)


async def end(catalog: Catalog, how: str, task_id: str, token: str, now: float = NOW) -> bool:
    """Ends a run in one of the four ways there are."""
    async with catalog.write() as transaction:
        match how:
            case "succeed":
                return await rows.succeed(transaction, task_id, token, {"cid": "bafy"}, now)
            case "fail":
                return await rows.fail(transaction, task_id, token, ERROR, now)
            case "retry":
                return await rows.retry(transaction, task_id, token, ERROR, now + 60)
            case _:
                return await rows.release(transaction, task_id, token, now)


WAYS_TO_END = ["succeed", "fail", "retry", "release"]


async def test_a_row_comes_back_as_it_was_accepted(catalog: Catalog, new_row: NewRow) -> None:
    row = new_row(
        arguments={"filename": "ümlaut \U0001f600 \" ' ;", "size_bytes": 2**62, "nested": {"list": [1, None, 2.5]}},
        context={"request_id": "r-1"},
        created_at=1_700_000_000.123456,
    )
    await put(catalog, row)
    assert await row_of(catalog, row.id) == row


async def test_an_unknown_id_is_nothing(catalog: Catalog) -> None:
    async with catalog.read() as connection:
        assert await rows.get(connection, "no such id") is None
    assert await claim(catalog, "no such id") is None


async def test_a_claim_starts_the_task_and_says_until_when_it_is_held(catalog: Catalog, new_row: NewRow) -> None:
    row = new_row()
    await put(catalog, row)
    claimed = await claim(catalog, row.id)
    assert claimed is not None
    assert (claimed.state, claimed.starts, claimed.lease_token) == ("STARTED", 1, "mine")
    assert (claimed.started_at, claimed.lease_expires_at) == (NOW, NOW + LEASE_SECONDS)
    assert await row_of(catalog, row.id) == claimed


async def test_of_many_who_claim_at_once_one_wins(catalog: Catalog, new_row: NewRow) -> None:
    row = new_row()
    await put(catalog, row)
    answers = await asyncio.gather(*(claim(catalog, row.id, f"token {number}") for number in range(20)))
    winners = [answer for answer in answers if answer is not None]
    assert len(winners) == 1
    assert (await row_of(catalog, row.id)).lease_token == winners[0].lease_token


async def test_what_is_held_cannot_be_claimed_before_the_lease_has_run_out(catalog: Catalog, new_row: NewRow) -> None:
    row = new_row()
    await put(catalog, row)
    await claim(catalog, row.id)
    assert await claim(catalog, row.id, "another", NOW + LEASE_SECONDS) is None
    taken = await claim(catalog, row.id, "another", NOW + LEASE_SECONDS + 0.1)
    assert taken is not None
    assert (taken.starts, taken.started_at) == (2, NOW), "it started when it first started"


@pytest.mark.parametrize("state", ["SUCCESS", "FAILURE", "REVOKED"])
async def test_what_is_finished_cannot_be_claimed(catalog: Catalog, new_row: NewRow, state: State) -> None:
    row = new_row(state=state)
    await put(catalog, row)
    assert await claim(catalog, row.id) is None


async def test_a_failed_task_rests_until_its_next_try_is_due(catalog: Catalog, new_row: NewRow) -> None:
    row = new_row()
    await put(catalog, row)
    await claim(catalog, row.id)
    await end(catalog, "retry", row.id, "mine")
    assert await claim(catalog, row.id, "a second message", NOW + 1) is None
    assert await claim(catalog, row.id, "the one with the time", NOW + 60) is not None


@pytest.mark.parametrize("how", WAYS_TO_END)
async def test_whoever_lost_the_lease_changes_nothing(catalog: Catalog, new_row: NewRow, how: str) -> None:
    row = new_row()
    await put(catalog, row)
    await claim(catalog, row.id, "late")
    taken = await claim(catalog, row.id, "mine", NOW + LEASE_SECONDS + 1)
    assert not await end(catalog, how, row.id, "late")
    assert await row_of(catalog, row.id) == taken
    assert await end(catalog, how, row.id, "mine")


@pytest.mark.parametrize("how", WAYS_TO_END)
async def test_a_run_ends_once(catalog: Catalog, new_row: NewRow, how: str) -> None:
    row = new_row()
    await put(catalog, row)
    await claim(catalog, row.id)
    assert await end(catalog, how, row.id, "mine")
    ended = await row_of(catalog, row.id)
    for again in WAYS_TO_END:
        assert not await end(catalog, again, row.id, "mine")
    assert await row_of(catalog, row.id) == ended


async def test_success_keeps_the_result_and_drops_the_lease(catalog: Catalog, new_row: NewRow) -> None:
    row = new_row()
    await put(catalog, row)
    await claim(catalog, row.id)
    await end(catalog, "succeed", row.id, "mine", NOW + 5)
    done = await row_of(catalog, row.id)
    assert (done.state, done.result, done.finished_at) == ("SUCCESS", {"cid": "bafy"}, NOW + 5)
    assert (done.lease_token, done.lease_expires_at) == (None, None)


async def test_success_after_a_retry_says_nothing_of_the_old_failure(catalog: Catalog, new_row: NewRow) -> None:
    row = new_row()
    await put(catalog, row)
    await claim(catalog, row.id)
    await end(catalog, "retry", row.id, "mine")
    await claim(catalog, row.id, "again", NOW + 60)
    await end(catalog, "succeed", row.id, "again", NOW + 61)
    assert (await row_of(catalog, row.id)).error is None


async def test_a_failure_is_a_dead_letter_with_its_reason(catalog: Catalog, new_row: NewRow) -> None:
    row = new_row()
    await put(catalog, row)
    await claim(catalog, row.id)
    await end(catalog, "fail", row.id, "mine", NOW + 5)
    dead = await row_of(catalog, row.id)
    assert (dead.state, dead.error, dead.finished_at, dead.result) == ("FAILURE", ERROR, NOW + 5, None)


async def test_a_retry_counts_the_attempt_and_is_due_later(catalog: Catalog, new_row: NewRow) -> None:
    row = new_row(dispatched_at=90.0)
    await put(catalog, row)
    await claim(catalog, row.id)
    await end(catalog, "retry", row.id, "mine")
    waits = await row_of(catalog, row.id)
    assert (waits.state, waits.attempt, waits.error, waits.due_at) == ("RETRY", 1, ERROR, NOW + 60)
    assert (waits.lease_token, waits.dispatched_at) == (None, None)


async def test_what_is_handed_back_is_no_failure(catalog: Catalog, new_row: NewRow) -> None:
    row = new_row()
    await put(catalog, row)
    await claim(catalog, row.id)
    await end(catalog, "release", row.id, "mine")
    waits = await row_of(catalog, row.id)
    assert (waits.state, waits.attempt, waits.due_at, waits.lease_token) == ("PENDING", 0, NOW, None)


async def test_renewing_says_which_leases_are_still_held(catalog: Catalog, new_row: NewRow) -> None:
    held, lost, done = new_row(), new_row(), new_row()
    await put(catalog, held, lost, done)
    for row in (held, lost, done):
        await claim(catalog, row.id, token_of(row))
    await claim(catalog, lost.id, "another", NOW + LEASE_SECONDS + 1)
    await end(catalog, "succeed", done.id, token_of(done))
    async with catalog.write() as transaction:
        alive = await rows.renew(transaction, [token_of(row) for row in (held, lost, done)], NOW + 99)
    assert alive == {token_of(held)}
    assert (await row_of(catalog, held.id)).lease_expires_at == NOW + 99
    assert (await row_of(catalog, lost.id)).lease_expires_at != NOW + 99


async def test_renewing_nothing_is_nothing(catalog: Catalog) -> None:
    async with catalog.write() as transaction:
        assert await rows.renew(transaction, [], NOW) == set()


async def test_what_dead_workers_held_waits_again(catalog: Catalog, new_row: NewRow) -> None:
    dead, alive, waits = new_row(dispatched_at=99.0), new_row(), new_row()
    await put(catalog, dead, alive, waits)
    await claim(catalog, dead.id, "dead", NOW - LEASE_SECONDS - 1)
    await claim(catalog, alive.id, "alive", NOW)
    async with catalog.write() as transaction:
        released = await rows.release_expired(transaction, NOW)
    assert [row.id for row in released] == [dead.id]
    assert released == [await row_of(catalog, dead.id)]
    assert (released[0].state, released[0].due_at, released[0].dispatched_at) == ("PENDING", NOW, None)
    assert (released[0].lease_token, released[0].lease_expires_at) == (None, None)
    assert not await end(catalog, "succeed", dead.id, "dead"), "the dead one's late result is refused"


async def test_dead_workers_tasks_are_released_in_portions(catalog: Catalog, new_row: NewRow) -> None:
    orphans = [new_row() for _ in range(5)]
    await put(catalog, *orphans)
    for row in orphans:
        await claim(catalog, row.id, token_of(row))
    portions = []
    for _ in range(3):
        async with catalog.write() as transaction:
            portions.append(len(await rows.release_expired(transaction, NOW + 99, limit=2)))
    assert portions == [2, 2, 1]


async def test_only_what_waits_can_be_given_up(catalog: Catalog, new_row: NewRow) -> None:
    waits, held = new_row(), new_row()
    await put(catalog, waits, held)
    await claim(catalog, held.id)
    async with catalog.write() as transaction:
        assert await rows.fail_waiting(transaction, waits.id, ERROR, NOW)
        assert not await rows.fail_waiting(transaction, held.id, ERROR, NOW)
        assert not await rows.fail_waiting(transaction, waits.id, ERROR, NOW)
    assert (await row_of(catalog, waits.id)).error == ERROR


async def test_the_known_are_told_from_the_unknown_however_many_are_asked_for(
    catalog: Catalog, new_row: NewRow
) -> None:
    pending, dead = new_row(), new_row(state="FAILURE")
    await put(catalog, pending, dead)
    strangers = [f"stranger {number}" for number in range(40_000)]
    async with catalog.read() as connection:
        assert await rows.known(connection, [*strangers, pending.id, dead.id]) == {
            pending.id: "PENDING",
            dead.id: "FAILURE",
        }
        assert await rows.known(connection, []) == {}


async def test_an_owner_lists_own_tasks_only_the_newest_first(catalog: Catalog, new_row: NewRow) -> None:
    mine = [new_row(created_at=float(second)) for second in (1, 3, 2)]
    await put(catalog, *mine, new_row(owner="bob", created_at=9.0))
    async with catalog.read() as connection:
        listed = await rows.newest(connection, "ann")
        assert [row.created_at for row in listed] == [3.0, 2.0, 1.0]
        assert [row.created_at for row in await rows.newest(connection, "ann", limit=2)] == [3.0, 2.0]
        assert [row.created_at for row in await rows.newest(connection, "ann", before=3.0)] == [2.0, 1.0]
        assert await rows.newest(connection, "cat") == []


async def test_a_list_can_be_narrowed(catalog: Catalog, new_row: NewRow) -> None:
    upload, pin, failed = new_row(), new_row(queue="pinning", actor="pin"), new_row(state="FAILURE")
    await put(catalog, upload, pin, failed)
    async with catalog.read() as connection:
        by_queue = await rows.newest(connection, "ann", queue="pinning")
        by_actor = await rows.newest(connection, "ann", actor="pin")
        by_state = await rows.newest(connection, "ann", states=["FAILURE", "REVOKED"])
        by_all = await rows.newest(connection, "ann", queue="upload", actor="ingest", states=["PENDING"])
    assert [[row.id for row in found] for found in (by_queue, by_actor, by_state, by_all)] == [
        [pin.id],
        [pin.id],
        [failed.id],
        [upload.id],
    ]
