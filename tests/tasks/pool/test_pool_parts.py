"""The pool's parts by themselves: awaiting from plain code, hand-over in order, interrupts that stay in the body."""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from billiard.exceptions import SoftTimeLimitExceeded

from tasks.pool import at_loop_end, await_, in_trace, scope
from tasks.pool.bell import Reports
from tasks.pool.limits import SoftLimit
from tasks.pool.loop import LoopThread
from tasks.pool.run import Ended, Fate, Phase, Place, Run
from tasks.pool.threads import BodyThreads
from tasks.pool.tracing import traced


def make_run(call: Callable[[], Any]) -> Run:
    """A run of `call`, as the pool would make one for Celery's tracer."""
    nothing = {"callback": print, "accept_callback": print, "error_callback": print, "timeout_callback": print}
    run = Run(1, lambda *_: call(), ("a.task", "id", {"id": "id"}), soft_seconds=None, hard_seconds=None, **nothing)
    run.phase = Phase.ACCEPTED
    return run


@contextlib.contextmanager
def body(run: Run) -> Iterator[None]:
    """What the pool wraps around a body."""
    run.enter_body()
    try:
        yield
    finally:
        run.leave_body()


async def test_plain_code_awaits_also_when_a_coroutine_has_called_it() -> None:
    def plain() -> str:
        assert in_trace()
        return await_(asyncio.sleep(0.01, "inner"))

    async def coroutine() -> str:
        await asyncio.sleep(0)
        return plain() + await_(asyncio.get_running_loop().run_in_executor(None, lambda: " thread"))

    assert await traced(make_run(lambda: await_(coroutine()))) == "inner thread"
    assert not in_trace()


async def test_errors_pass_through_both_ways() -> None:
    async def fails() -> None:
        await asyncio.sleep(0)
        raise LookupError("inner")

    def catches() -> str:
        with pytest.raises(LookupError, match="inner"):
            await_(fails())
        raise ValueError("outer")

    with pytest.raises(ValueError, match="outer"):
        await traced(make_run(catches))


async def test_a_hundred_traces_wait_at_the_same_time() -> None:
    barrier = asyncio.Barrier(100)

    def meets() -> int:
        return await_(barrier.wait())

    async with asyncio.timeout(5):
        seen = await asyncio.gather(*(traced(make_run(meets)) for _ in range(100)))
    assert sorted(seen) == list(range(100))


async def test_awaiting_outside_of_a_task_is_refused() -> None:
    with pytest.raises(RuntimeError, match="inside a task"):
        await_(asyncio.sleep(0))


def test_a_soft_limit_leaves_the_process_as_celerys_own_error() -> None:
    limit = SoftLimit(3)
    assert type(pickle.loads(pickle.dumps(limit))) is SoftTimeLimitExceeded
    assert (type(limit).__module__, type(limit).__name__) == ("billiard.exceptions", "SoftTimeLimitExceeded")
    assert isinstance(limit, asyncio.CancelledError)


async def test_reports_come_in_order_and_one_that_fails_keeps_none_back() -> None:
    seen: list[int] = []

    def take(number: int) -> None:
        seen.append(number)
        if number == 3:
            raise ValueError("this one fails")

    reports = Reports(asyncio.get_running_loop())
    for number in range(10):
        reports.tell(take, number)
    await asyncio.to_thread(reports.bell.wait, 5.0)
    reports.answer()
    assert seen == list(range(10))
    assert len(reports) == 0


def test_what_is_registered_for_the_loops_end_is_closed_on_it() -> None:
    closed: list[asyncio.AbstractEventLoop] = []

    async def close() -> None:
        closed.append(asyncio.get_running_loop())

    thread = LoopThread()
    thread.start()
    at_loop_end(close)
    thread.stop(5)
    thread.stop(5)
    assert closed == [thread.loop]
    thread.soon(print)  # nothing, and no error


@pytest.fixture
async def threads() -> AsyncIterator[BodyThreads]:
    """Two threads for bodies."""
    made = BodyThreads(2)
    yield made
    made.close()


async def test_a_body_in_a_thread_is_interrupted_where_it_is(threads: BodyThreads) -> None:
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()

    def call() -> str:
        with body(run):
            try:
                loop.call_soon_threadsafe(begun.set)
                while True:
                    threading.Event().wait(0.001)
            except SoftTimeLimitExceeded:
                return "caught"

    run = make_run(call)
    run.place = Place.THREAD
    running = asyncio.create_task(threads.run(run, lambda _: None))
    await begun.wait()
    assert run.exceed_soft_limit()
    assert await running == "caught"


async def test_interrupts_never_reach_beyond_the_body(threads: BodyThreads) -> None:
    """Each run is interrupted at about the moment at which its body ends; what comes after it must not notice."""
    beyond: list[BaseException] = []

    def make(number: int) -> Run:
        def call() -> str:
            try:
                with contextlib.suppress(SoftTimeLimitExceeded, Ended), body(run):
                    sum(range(number * 20 % 4000))
                return "-".join(str(n) for n in range(300))
            except BaseException as error:
                beyond.append(error)
                raise

        run = make_run(call)
        run.place = Place.THREAD
        return run

    for number in range(400):
        run = make(number)
        running = asyncio.create_task(threads.run(run, lambda _: None))
        while run.phase is Phase.ACCEPTED:
            await asyncio.sleep(0)
        _ = run.exceed_soft_limit() if number % 2 else run.end(Fate.TERMINATED)
        assert (await running).endswith("299")
    assert beyond == []


async def test_threads_inherit_the_run_they_work_for(threads: BodyThreads) -> None:
    run = make_run(scope.current.get)
    scope.current.set(run)
    assert await threads.run(run, lambda _: None) is run
