"""Warm, soft and cold ends of a worker: everything is finished or handed back, and nothing handed back runs on."""

from __future__ import annotations

import signal
import time
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from celery import Task

from tests.tasks.pool import pool_app, pool_base, pool_lasting, pool_worker
from tests.tasks.pool.pool_base import read_notes
from tests.tasks.pool.pool_worker import PoolWorker, noted, until

Start = Callable[..., AbstractContextManager[PoolWorker]]

ON_LOOP_AND_IN_THREAD = [pool_lasting.sleeps, pytest.param(pool_lasting.sleeps_in_thread, marks=pytest.mark.slow)]

WARM, COLD = signal.SIGTERM, signal.SIGQUIT


@pytest.fixture
def queue() -> str:
    """A queue of this test's own."""
    return uuid.uuid4().hex


@pytest.fixture
def start(tmp_path: Path, queue: str) -> Start:
    """Starts workers of this test's queue, each with a name of its own."""

    def running(name: str, *options: str, **variables: str) -> AbstractContextManager[PoolWorker]:
        return pool_worker.running(tmp_path, f"{name}-{queue}", *options, queue=queue, **variables)

    return running


def waiting(queue: str) -> int:
    """How many messages wait in the queue."""
    length: Any = pool_base.notes().llen(queue)
    return int(length)


def unacknowledged(queue: str) -> int:
    """How many messages of the queue some worker holds."""
    held: Any = pool_base.notes().hvals("unacked")
    return sum(queue in message for message in held)


@pytest.mark.parametrize("task", ON_LOOP_AND_IN_THREAD)
def test_a_warm_stop_finishes_what_runs_and_hands_back_what_waits(
    start: Start, queue: str, task: Task[Any, Any]
) -> None:
    with start("first", "-c", "2", "--prefetch-multiplier", "2") as worker:
        running = [task.apply_async((1.0,), queue=queue) for _ in range(2)]
        for result in running:
            noted(result, "begun")
        reserved = [task.apply_async((0.0,), queue=queue) for _ in range(4)]
        until(lambda: len(worker.inspect("reserved")) == 2)
        worker.signal(WARM)
        assert worker.wait() == 0
    assert [result.state for result in running] == ["SUCCESS"] * 2
    assert waiting(queue) == 4
    assert [read_notes(result.id) for result in reserved] == [[]] * 4
    with start("second", "-c", "2"):
        assert [result.get(15) for result in reserved] == ["slept"] * 4
        until(lambda: unacknowledged(queue) == 0)


@pytest.mark.parametrize("task", ON_LOOP_AND_IN_THREAD)
def test_a_cold_stop_cancels_what_runs_lets_it_clean_up_and_hands_it_back(
    start: Start, queue: str, task: Task[Any, Any]
) -> None:
    with start("first", "-c", "2") as worker:
        results = [task.apply_async((60.0,), queue=queue) for _ in range(2)]
        for result in results:
            noted(result, "begun")
        worker.signal(COLD)
        worker.wait()
    assert waiting(queue) == 2
    for result in results:
        assert read_notes(result.id)[1][0] == ("CancelledError" if task is pool_lasting.sleeps else "Ended")
    if task is pool_lasting.sleeps:
        assert all(read_notes(result.id)[-1] == "cleaned up" for result in results)
    assert unacknowledged(queue) == 0


@pytest.mark.slow
def test_a_cold_stop_does_not_wait_for_a_body_that_swallows_its_cancellation(start: Start, queue: str) -> None:
    with start("first", "-c", "2") as worker:
        result = pool_lasting.swallows_cancellation.apply_async((100,), queue=queue)
        noted(result, "begun")
        stopped_at = time.monotonic()
        worker.signal(COLD)
        worker.wait()
        assert time.monotonic() - stopped_at < 10
    assert waiting(queue) == 1


def test_a_soft_stop_gives_what_is_short_its_time_and_hands_back_what_is_long(start: Start, queue: str) -> None:
    with start("first", "-c", "2", POOL_TEST_SOFT_SHUTDOWN="2") as worker:
        short = pool_lasting.sleeps.apply_async((1.0,), queue=queue)
        long = pool_lasting.sleeps.apply_async((60.0,), queue=queue)
        noted(short, "begun")
        noted(long, "begun")
        worker.signal(COLD)
        worker.wait()
    assert read_notes(short.id) == ["begun", "cleaned up"]
    assert read_notes(long.id)[1][0] == "CancelledError"
    assert short.state == "SUCCESS"
    assert waiting(queue) == 1


def test_a_second_interrupt_makes_a_warm_stop_a_cold_one(start: Start, queue: str) -> None:
    with start("first", "-c", "2") as worker:
        result = pool_lasting.sleeps.apply_async((60.0,), queue=queue)
        noted(result, "begun")
        worker.signal(signal.SIGINT)
        until(lambda: "Hitting Ctrl+C again will initiate cold shutdown" in worker.log)
        assert worker.process.poll() is None
        worker.signal(signal.SIGINT)
        worker.wait()
    assert read_notes(result.id)[1][0] == "CancelledError"
    assert waiting(queue) == 1


@pytest.mark.slow
def test_a_second_quit_during_a_soft_stop_cancels_at_once(start: Start, queue: str) -> None:
    with start("first", "-c", "2", POOL_TEST_SOFT_SHUTDOWN="5") as worker:
        result = pool_lasting.sleeps.apply_async((60.0,), queue=queue)
        noted(result, "begun")
        worker.signal(COLD)
        until(lambda: "Initiating Soft Shutdown" in worker.log)
        quit_at = time.time()
        worker.signal(COLD)
        noted(result, "CancelledError")
        worker.wait()
    assert read_notes(result.id)[1][1] - quit_at < 1.0
    assert waiting(queue) == 1


def test_acknowledged_early_a_cancelled_task_is_reported_as_retried_by_celery(start: Start, queue: str) -> None:
    with start("first", "-c", "2", POOL_TEST_ACKS_LATE="") as worker:
        result = pool_lasting.sleeps.apply_async((60.0,), queue=queue)
        noted(result, "begun")
        until(lambda: unacknowledged(queue) == 0)
        worker.signal(COLD)
        worker.wait()
    assert waiting(queue) == 0
    assert result.state == "RETRY"
    assert read_notes(result.id)[-1] == "cleaned up"


@pytest.mark.slow
def test_without_the_hub_tasks_run_are_revoked_and_handed_back_too(start: Start, queue: str) -> None:
    with start("first", "-c", "2", POOL_TEST_NO_HUB="1") as worker:
        assert pool_app.add.apply_async((1, 2), queue=queue).get(15) == 3
        assert pool_app.plain_add.apply_async((1, 2), queue=queue).get(15) == 3
        revoked = pool_lasting.sleeps.apply_async((60.0,), queue=queue)
        noted(revoked, "begun")
        revoked.revoke(terminate=True)
        noted(revoked, "cleaned up")
        result = pool_lasting.sleeps.apply_async((60.0,), queue=queue)
        noted(result, "begun")
        worker.signal(COLD)
        worker.wait()
    assert read_notes(result.id)[-1] == "cleaned up"
    assert waiting(queue) == 1


def test_a_worker_that_breaks_down_ends_and_hands_back_what_runs(tmp_path: Path) -> None:
    with pool_worker.running(tmp_path, "breaking", POOL_TEST_GRACE="0.5") as worker:
        result = pool_lasting.sleeps.apply_async(queue="breaking")
        noted(result, "begun")
        headers: Any = {"timelimit": "Celery's own code cannot unpack this"}
        pool_app.add.apply_async((1, 1), queue="breaking", headers=headers)
        assert worker.wait() == 1
    assert "Unrecoverable error" in worker.log
    assert read_notes(result.id)[-1] == "cleaned up"
    assert pool_base.notes().llen("breaking") == 2
