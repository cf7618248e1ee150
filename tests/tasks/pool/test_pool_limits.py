"""Time limits and revokes of queued and running tasks, on the loop and in threads."""

from __future__ import annotations

import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from billiard.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded
from celery import Task
from celery.exceptions import TaskRevokedError

from tests.tasks.pool import pool_app, pool_base, pool_lasting, pool_worker
from tests.tasks.pool.pool_base import read_notes
from tests.tasks.pool.pool_worker import PoolWorker, noted, signals_of, until

pytestmark = pytest.mark.usefixtures("worker")

SECONDS = 15.0
BOTH = pytest.mark.parametrize("task", [pool_lasting.sleeps, pool_lasting.sleeps_in_thread])


@pytest.mark.parametrize("task", [pool_lasting.catches_soft_limit, pool_lasting.catches_soft_limit_in_thread])
def test_a_soft_limit_is_caught_in_the_body(task: Task[Any, Any]) -> None:
    assert task.delay().get(SECONDS) == "caught"


def test_a_soft_limit_takes_a_task_group_down_and_leaves_no_cancellation_behind() -> None:
    result = pool_lasting.limits_a_group.delay()
    assert result.get(SECONDS) == "caught, 0 cancellations left"
    assert read_notes(result.id) == ["child ended", "child ended"]


def test_a_soft_limit_that_nobody_catches_fails_the_task_under_celerys_name() -> None:
    result = pool_lasting.ends_by_soft_limit.delay()
    with pytest.raises(SoftTimeLimitExceeded):
        result.get(SECONDS)
    until(lambda: ["failure", result.id, "SoftTimeLimitExceeded"] in signals_of(result))


@BOTH
def test_a_hard_limit_ends_the_body_and_fails_the_task(task: Task[Any, Any]) -> None:
    result = task.apply_async(time_limit=pool_lasting.SHORTLY)
    with pytest.raises(TimeLimitExceeded):
        result.get(SECONDS)
    ending = noted(result, "CancelledError" if task is pool_lasting.sleeps else "Ended")
    assert ending[0] == "begun"


def test_a_hard_limit_lets_the_body_clean_up() -> None:
    result = pool_lasting.sleeps.apply_async(time_limit=pool_lasting.SHORTLY)
    noted(result, "cleaned up")


@BOTH
def test_a_running_task_that_is_revoked_ends_and_frees_its_slot(worker: PoolWorker, task: Task[Any, Any]) -> None:
    result = task.delay()
    noted(result, "begun")
    result.revoke(terminate=True)
    noted(result, "CancelledError" if task is pool_lasting.sleeps else "Ended")
    with pytest.raises(TaskRevokedError):
        result.get(SECONDS)
    until(lambda: ["revoked", True, False] in signals_of(result))
    until(lambda: worker.inspect("stats")["pool"]["running"] == 0)


def test_a_running_coroutine_is_cancelled_within_100_ms_of_its_revoke() -> None:
    """The best of a few: the machine may be busy with something else."""

    def seconds_to_cancel() -> float:
        result = pool_lasting.sleeps.delay()
        noted(result, "begun")
        revoked_at = time.time()
        result.revoke(terminate=True)
        return float(noted(result, "CancelledError")[1][1]) - revoked_at

    assert min(seconds_to_cancel() for _ in range(5)) < 0.1


def test_a_revoked_tasks_finally_blocks_may_await() -> None:
    result = pool_lasting.sleeps.delay(60.0, 0.3)
    noted(result, "begun")
    result.revoke(terminate=True)
    noted(result, "cleaned up")


def test_a_queued_task_that_is_revoked_never_runs(tmp_path: Path) -> None:
    gate = str(uuid.uuid4())
    with pool_worker.running(tmp_path, "queued", "-c", "1", "--prefetch-multiplier", "4") as worker:
        pool_lasting.holds_a_thread.apply_async((gate,), queue="queued")
        result = pool_lasting.sleeps.apply_async(queue="queued")
        until(lambda: f"[{result.id}] received" in worker.log)
        assert "ok" in worker.control("revoke", task_id=result.id)
        pool_base.notes().rpush(f"gate:{gate}", 1)
        assert pool_app.add.apply_async((1, 1), queue="queued").get(SECONDS) == 2
        with pytest.raises(TaskRevokedError):
            result.get(SECONDS)
    assert read_notes(result.id) == []


def test_running_tasks_are_revoked_by_their_stamps() -> None:
    mark = str(uuid.uuid4())
    signature = pool_lasting.sleeps.s()
    signature.stamp(color=mark)
    result = signature.apply_async()
    noted(result, "begun")
    pool_base.app.control.revoke_by_stamped_headers({"color": mark}, terminate=True)
    noted(result, "cleaned up")
    with pytest.raises(TaskRevokedError):
        result.get(SECONDS)


def test_a_body_that_swallows_its_cancellation_is_cancelled_again_and_keeps_no_result(worker: PoolWorker) -> None:
    result = pool_lasting.swallows_cancellation.delay(2)
    noted(result, "begun")
    result.revoke(terminate=True)
    until(lambda: read_notes(result.id) == ["begun", "swallowed", "swallowed"])
    until(lambda: not worker.inspect("active"))
    assert str(result.state) == "REVOKED"
    assert f"swallows_cancellation[{result.id}] was cancelled 1 s ago and still runs" in worker.log


def test_a_thread_that_does_not_come_back_is_left_behind(worker: PoolWorker) -> None:
    def left_behind() -> int:
        return int(worker.inspect("stats")["pool"]["threads"]["left-behind"])

    gate, before = str(uuid.uuid4()), left_behind()
    result = pool_lasting.holds_a_thread.delay(gate)
    noted(result, "begun")
    result.revoke(terminate=True)
    until(lambda: left_behind() > before)
    until(lambda: worker.inspect("stats")["pool"]["threads"]["busy"] == 0)
    pool_base.notes().rpush(f"gate:{gate}", 1)
    assert pool_app.plain_add.delay(1, 1).get(SECONDS) == 2
