"""The bridge in tasks of the asyncio pool: they await on the pool's own loop, beside each other."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, cast

import pytest

from tasks import bridge
from tasks.errors import CatalogUnavailable
from tasks.pool.loop import LoopThread
from tasks.pool.run import Run
from tasks.pool.tracing import traced
from tests.tasks.test_bridge import Opener

SECONDS = 5.0


class FakeRun:
    """As much of a run as the tracing of one needs."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self.call = call

    def instead_of(self, cancelled: asyncio.CancelledError) -> BaseException:
        return cancelled


class PoolLoop:
    """The pool's loop, without the pool."""

    def __init__(self) -> None:
        self.thread = LoopThread()
        self.thread.start()

    def submit(self, work: bridge.Work[Any]) -> Future[Any]:
        """Has a task run `work` through the bridge."""

        async def perform() -> Any:
            return await traced(cast("Run", FakeRun(lambda: bridge.run(work))))

        return asyncio.run_coroutine_threadsafe(perform(), self.thread.loop)

    def run(self, work: bridge.Work[Any]) -> Any:
        return self.submit(work).result(SECONDS)


@pytest.fixture
def opener() -> Opener:
    made = Opener()
    bridge.use(made, 0.05)
    return made


@pytest.fixture
def pool(opener: Opener) -> Iterator[PoolLoop]:
    made = PoolLoop()
    yield made
    made.thread.stop(SECONDS)


async def thread_of(_parts: Any) -> str:
    return threading.current_thread().name


async def parts_of(parts: Any) -> Any:
    return parts


async def hang(_parts: Any) -> str:
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        return "handed back"
    return "never"


def test_tasks_await_beside_each_other_on_the_pool_s_loop_with_the_same_parts(pool: PoolLoop, opener: Opener) -> None:
    everybody_is_here = asyncio.Barrier(50)

    async def meet(parts: Any) -> tuple[int, str]:
        await everybody_is_here.wait()
        return id(parts), threading.current_thread().name

    met = {task.result(SECONDS) for task in [pool.submit(meet) for _ in range(50)]}
    assert met == {(id(opener.opened[0]), pool.thread.thread.name)}
    assert len(opener.opened) == 1


def test_what_the_work_raises_comes_out(pool: PoolLoop) -> None:
    async def fail(_parts: Any) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        pool.run(fail)


def test_parts_that_cannot_be_opened_are_tried_anew(pool: PoolLoop, opener: Opener) -> None:
    opener.failures = 1
    with pytest.raises(CatalogUnavailable):
        pool.run(thread_of)
    assert pool.run(thread_of) == pool.thread.thread.name


def test_what_still_runs_after_the_grace_is_cancelled_and_so_is_what_begins_later(pool: PoolLoop) -> None:
    running = pool.submit(hang)
    pool.run(thread_of)
    bridge.stop_soon()
    assert running.result(SECONDS) == "handed back"
    assert pool.run(hang) == "handed back"


def test_a_pool_that_is_first_used_after_the_stop_hears_of_it(pool: PoolLoop) -> None:
    bridge.stop_soon()
    assert pool.run(hang) == "handed back"


def test_the_loop_s_end_closes_its_parts_and_another_loop_opens_its_own(pool: PoolLoop, opener: Opener) -> None:
    pool.run(thread_of)
    pool.thread.stop(SECONDS)
    assert opener.opened[0].closed
    another = PoolLoop()
    assert another.run(parts_of) is opener.opened[1]
    another.thread.stop(SECONDS)
    assert opener.opened[1].closed


def test_outside_of_tasks_a_loop_of_the_bridge_s_own_does_the_work(pool: PoolLoop) -> None:
    assert pool.run(thread_of) != bridge.run(thread_of)
    bridge.close()
