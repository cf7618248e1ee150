from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from celery.exceptions import Ignore, Reject, Retry
from celery.worker import state
from msgspec.structs import replace
from sqlalchemy import text

from tasks.catalog.engine import Transaction
from tasks.errors import DiskFull, InvalidCID
from tasks.job import Job
from tasks.parts import Parts
from tasks.poison import MOST_LOSSES, worker_lost
from tasks.runner import Delivery, perform
from tests.tasks.running import (
    POLICY,
    NewRow,
    Waiting,
    accept,
    break_down,
    double,
    make_actor,
    messages_in,
    must_not_run,
    record_of,
    rename_owner,
    row_of,
    run,
)
from tests.waiting import eventually


async def test_a_task_that_goes_well_is_success_in_the_catalog_and_in_its_record(parts: Parts, new_row: NewRow) -> None:
    task_id = await accept(parts, new_row())
    assert await run(parts, make_actor(double), task_id, number=21) == 42
    row, record = await row_of(parts, task_id), await record_of(parts, task_id)
    assert (row.state, row.result, row.starts) == ("SUCCESS", 42, 1)
    assert (record.state, record.result, record.progress, record.owner) == ("SUCCESS", 42, 100.0, "ann")
    assert (record.started_at, record.finished_at) == (row.started_at, row.finished_at)


async def test_an_effect_commits_with_the_success(parts: Parts, new_row: NewRow) -> None:
    async def effective(job: Job) -> None:
        job.with_success(rename_owner)

    task_id = await accept(parts, new_row())
    await run(parts, make_actor(effective), task_id)
    row = await row_of(parts, task_id)
    assert (row.state, row.owner) == ("SUCCESS", "renamed")


async def test_when_an_effect_fails_nothing_commits_and_the_task_is_tried_again(parts: Parts, new_row: NewRow) -> None:
    async def impossible(transaction: Transaction) -> None:
        await transaction.execute(text("UPDATE tasks SET id = NULL"))

    async def effective(job: Job) -> None:
        job.with_success(rename_owner)
        job.with_success(impossible)

    task_id = await accept(parts, new_row())
    with pytest.raises(Retry):
        await run(parts, make_actor(effective), task_id)
    row = await row_of(parts, task_id)
    assert (row.state, row.owner, row.error and row.error.type) == ("RETRY", "ann", "IntegrityError")


async def test_a_failure_that_may_go_away_is_tried_again_after_its_pause(parts: Parts, new_row: NewRow) -> None:
    task_id = await accept(parts, new_row(attempt=1))
    random.seed(4)
    pause_seconds = POLICY.delay_seconds(DiskFull(), 1, random.Random(4))
    assert pause_seconds is not None
    before = parts.clock.now()
    with pytest.raises(Retry):
        await run(parts, make_actor(break_down), task_id, attempt=1)
    row, record = await row_of(parts, task_id), await record_of(parts, task_id)
    assert (row.state, row.attempt, record.state, record.attempt) == ("RETRY", 2, "RETRY", 2)
    assert before + pause_seconds <= row.due_at <= parts.clock.now() + pause_seconds
    assert row.error == record.error is not None
    [headers] = await messages_in(parts)
    assert (headers["id"], headers["retries"]) == (task_id, 2)
    assert headers["eta"] is not None


async def test_a_lost_record_of_a_failed_task_comes_back_as_what_it_is(parts: Parts, new_row: NewRow) -> None:
    async def lose_the_record(job: Job) -> None:
        await parts.redis.flushdb()
        raise DiskFull

    task_id = await accept(parts, new_row())
    with pytest.raises(Retry):
        await run(parts, make_actor(lose_the_record), task_id)
    assert (await record_of(parts, task_id)).state == "RETRY"


async def test_when_its_attempts_are_spent_a_task_is_a_dead_letter(parts: Parts, new_row: NewRow) -> None:
    task_id = await accept(parts, new_row(attempt=2))
    with pytest.raises(DiskFull):
        await run(parts, make_actor(break_down), task_id, attempt=2)
    row, record = await row_of(parts, task_id), await record_of(parts, task_id)
    assert (row.state, record.state) == ("FAILURE", "FAILURE")
    assert row.error is not None
    assert (row.error.type, row.error.message) == ("DiskFull", "the data volume is full")
    assert await messages_in(parts) == []


async def test_what_retrying_cannot_mend_fails_at_once(parts: Parts, new_row: NewRow) -> None:
    async def refuse(job: Job) -> None:
        raise InvalidCID("x", "too short")

    task_id = await accept(parts, new_row())
    with pytest.raises(InvalidCID):
        await run(parts, make_actor(refuse), task_id)
    assert (await row_of(parts, task_id)).state == "FAILURE"


@pytest.mark.parametrize("arguments", [{}, {"number": "many"}, {"number": 1, "more": 2}])
async def test_arguments_that_do_not_fit_fail_at_once(parts: Parts, new_row: NewRow, arguments: dict[str, Any]) -> None:
    task_id = await accept(parts, new_row())
    with pytest.raises(Exception, match="do not fit"):
        await run(parts, make_actor(double), task_id, **arguments)
    row = await row_of(parts, task_id)
    assert row.error is not None
    assert (row.state, row.error.type) == ("FAILURE", "InvalidArguments")


async def test_an_unexpected_error_does_not_say_what_only_the_log_may(parts: Parts, new_row: NewRow) -> None:
    async def stumble(job: Job) -> None:
        raise OSError("/secret/path")

    task_id = await accept(parts, new_row(attempt=2))
    with pytest.raises(OSError, match="secret"):
        await run(parts, make_actor(stumble), task_id)
    error = (await row_of(parts, task_id)).error
    assert error is not None
    assert error.type == "OSError"
    assert "secret" not in error.message


async def test_a_second_delivery_of_finished_work_does_nothing_but_show_it(parts: Parts, new_row: NewRow) -> None:
    task_id = await accept(parts, new_row(state="SUCCESS", result=42))
    with pytest.raises(Ignore):
        await run(parts, make_actor(must_not_run), task_id)
    assert (await row_of(parts, task_id)).starts == 0
    assert (await record_of(parts, task_id)).result == 42


async def test_a_task_nobody_accepted_does_not_run(parts: Parts) -> None:
    with pytest.raises(Ignore):
        await run(parts, make_actor(must_not_run), "no such task")


async def test_while_one_worker_has_it_no_other_runs_it(parts: Parts, new_row: NewRow) -> None:
    waiting = Waiting()
    task_id = await accept(parts, new_row())
    first = asyncio.create_task(run(parts, make_actor(waiting.body()), task_id))
    await waiting.begun.wait()
    with pytest.raises(Ignore):
        await run(parts, make_actor(must_not_run), task_id)
    waiting.may_end.set()
    assert await first == "done"


async def test_progress_is_seen_while_it_runs(parts: Parts, new_row: NewRow) -> None:
    waiting = Waiting()
    task_id = await accept(parts, new_row())
    running = asyncio.create_task(run(parts, make_actor(waiting.body()), task_id))

    async def is_seen() -> bool:
        record = await parts.records.get(task_id)
        return record is not None and (record.state, record.progress, record.message) == ("PROGRESS", 40.0, "waiting")

    await eventually(is_seen)
    waiting.may_end.set()
    await running


async def test_a_stopping_worker_hands_its_task_back(parts: Parts, new_row: NewRow) -> None:
    waiting = Waiting()
    task_id = await accept(parts, new_row())
    running = asyncio.create_task(run(parts, make_actor(waiting.body()), task_id))
    await waiting.begun.wait()
    running.cancel()
    with pytest.raises(Reject) as rejected:
        await running
    assert vars(rejected.value)["requeue"], "its message goes back …"
    assert await messages_in(parts) == [], "… and no other is sent"
    row, record = await row_of(parts, task_id), await record_of(parts, task_id)
    assert (row.state, row.attempt, row.owner, record.state) == ("PENDING", 0, "ann", "PENDING")
    assert await run(parts, make_actor(double), task_id, number=1) == 2
    assert (await record_of(parts, task_id)).state == "SUCCESS"


async def test_a_task_that_is_revoked_while_it_runs_is_not_handed_back(
    parts: Parts, new_row: NewRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = Waiting()
    task_id = await accept(parts, new_row())
    running = asyncio.create_task(run(parts, make_actor(waiting.body()), task_id))
    await waiting.begun.wait()
    monkeypatch.setattr(state, "revoked", {task_id})
    running.cancel()
    with pytest.raises(Ignore):
        await running
    assert (await row_of(parts, task_id)).state == "STARTED", "who cancelled it writes that down"


@pytest.mark.parametrize("durable", [True, False])
async def test_a_task_whose_workers_die_again_and_again_is_run_no_more_where_nothing_runs_alone(
    parts: Parts, new_row: NewRow, durable: bool
) -> None:
    parts = replace(parts, settings=replace(parts.settings, pool="prefork"))
    task_id = await accept(parts, new_row(state="STARTED", lease_token="of the dead")) if durable else "t"
    delivery = Delivery(task_id=task_id, attempt=0, context={"owner_id": "ann"}, losses=MOST_LOSSES)
    with pytest.raises(Ignore):
        await perform(parts, make_actor(must_not_run, durable=durable), delivery, {"why": "to test"})
    row, record = await row_of(parts, task_id), await record_of(parts, task_id)
    assert (row.state, row.lease_token, record.state) == ("FAILURE", None, "FAILURE")
    assert row.error == record.error == worker_lost(MOST_LOSSES)
    with pytest.raises(Ignore):
        await perform(parts, make_actor(must_not_run, durable=durable), delivery, {"why": "to test"})


async def test_a_task_that_has_not_begun_when_the_worker_stops_goes_back_as_it_came(
    parts: Parts, new_row: NewRow
) -> None:
    task_id = await accept(parts, new_row())
    running = asyncio.create_task(run(parts, make_actor(must_not_run), task_id))
    async with parts.catalog.write():  # so that it cannot begin
        await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(Reject) as rejected:
            await running
    assert vars(rejected.value)["requeue"]
    assert (await row_of(parts, task_id)).state == "PENDING"
