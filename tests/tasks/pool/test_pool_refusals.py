"""What cannot be run fails by itself: the worker, its slots and its other tasks notice nothing."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from celery.exceptions import ImproperlyConfigured

from tasks.pool import bodies, limits
from tasks.pool.bell import Reports
from tasks.pool.children import Children
from tasks.pool.execution import Execution
from tasks.pool.run import Place, Run
from tasks.pool.threads import BodyThreads
from tests.tasks.pool import pool_app, pool_base, pool_worker
from tests.tasks.pool.pool_worker import until

SECONDS = 15.0


@pytest.mark.parametrize("acks_late", ["1", ""], ids=["late", "early"])
def test_messages_that_cannot_be_run_wedge_no_worker(tmp_path: Path, acks_late: str) -> None:
    with pool_worker.running(tmp_path, "refusing", "-c", "1", POOL_TEST_ACKS_LATE=acks_late) as worker:
        for losses in ("many", [1], {"a": 1}, -1, None):
            headers: Any = {"x-losses": losses}
            sent = pool_app.add.apply_async((1, 1), queue="refusing", headers=headers)
            assert sent.get(SECONDS) == 2
        never: Any = "tomorrow"
        with pytest.raises(ValueError, match="not 'tomorrow'"):
            pool_app.plain_add.apply_async((1, 1), queue="refusing", time_limit=never).get(SECONDS)
        pool_app.misplaces.apply_async(queue="refusing").get(SECONDS)
        lost = pool_app.knows_no_place.apply_async(queue="refusing")
        with pytest.raises(Exception, match="runs_in='proces' is none of 'loop', 'thread', 'process'"):
            lost.get(SECONDS)
        assert pool_app.add.apply_async((1, 1), queue="refusing").get(SECONDS) == 2
        until(lambda: worker.inspect("stats")["pool"]["running"] == 0)
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
    assert pool_base.notes().llen("refusing") == 0
    assert lost.state == "FAILURE"


def test_a_place_that_does_not_exist_is_named_when_the_worker_starts() -> None:
    app = Celery("misplaced", set_as_current=False)

    @app.task(name="bad", runs_in="proces")
    def bad() -> None:
        raise AssertionError

    with pytest.raises(ImproperlyConfigured, match="task bad: runs_in='proces' is none of 'loop', 'thread', 'process'"):
        bodies.adapt_all(app)


@pytest.mark.parametrize("limit", ["5", [5], -1, float("nan"), float("inf")])
def test_a_time_limit_is_a_number_of_seconds(limit: Any) -> None:
    limits.check(None, 0, 1, 0.5)
    with pytest.raises(ValueError, match="number of seconds"):
        limits.check(None, limit)


@pytest.mark.parametrize("is_spawned", [False, True])
@pytest.mark.parametrize("place", list(Place))
async def test_a_run_that_is_ended_before_its_first_step_frees_its_slot_at_once(place: Place, is_spawned: bool) -> None:
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    reports, threads = Reports(loop), BodyThreads(1)
    children = Children("nowhere", "here", processes=1, lone_processes=1)
    execution = Execution(
        Celery("ended", set_as_current=False), loop, reports, threads, children, lambda _: over.set(), 60.0
    )
    called: list[object] = []
    nothing = {"callback": print, "accept_callback": print, "error_callback": print, "timeout_callback": print}
    run = Run(
        1,
        lambda *_: called.append("body"),
        ("a.task", "id", {"id": "id"}),
        soft_seconds=None,
        hard_seconds=None,
        **nothing,
    )
    run.place = place
    if is_spawned:
        execution.submit(run)
        loop.call_soon(execution.terminate, run, None)
    else:  # a signal handler came between its slot and its start
        execution.terminate(run, None)
        execution.submit(run)
    give_up_at = time.monotonic() + 5.0
    while not over.is_set():
        assert time.monotonic() < give_up_at
        await asyncio.to_thread(reports.bell.wait, 0.1)
        reports.answer()
    assert place is Place.LOOP or not called
    threads.close()
