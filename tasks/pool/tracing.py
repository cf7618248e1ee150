"""Runs Celery's synchronous tracer on an event loop: one greenlet for each run, and `await_` to wait from inside it.

The tracer, and with it retries, canvas, signals and results, is Celery's own and unchanged. What it calls may await:
`await_(coroutine)` steps the coroutine right there, and gives each future it waits for to the run's asyncio task, which
waits for it and comes back. So synchronous code that a coroutine calls (`task.update_state`) may await as well.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Awaitable, Coroutine, Generator
from typing import Any, TypeVar

from greenlet import getcurrent, greenlet  # type: ignore[import-untyped]

from tasks.pool.run import Run

T = TypeVar("T")


class TraceGreenlet(greenlet):  # type: ignore[misc]  # untyped
    """The stack of one run's tracer."""


def in_trace() -> bool:
    """Whether the code runs on the pool's loop, inside a task, where `await_` can be called."""
    return isinstance(getcurrent(), TraceGreenlet)


def await_(awaitable: Awaitable[T]) -> T:
    """Awaits on the pool's loop from synchronous code inside a task, and returns the result or raises the error.

    Other tasks go on meanwhile. Raises RuntimeError where `in_trace()` is false.
    """
    trace = getcurrent()
    if not isinstance(trace, TraceGreenlet):
        if isinstance(awaitable, Coroutine):
            awaitable.close()
        raise RuntimeError("await_ is for code that runs inside a task on the loop of tasks.pool:AsyncioPool")
    coroutine = awaitable if isinstance(awaitable, Coroutine) else _awaiting(awaitable)
    wait = trace.parent.switch
    try:
        future = coroutine.send(None)
        while True:
            try:
                value = wait(future)
            except BaseException as error:
                future = coroutine.throw(error)
            else:
                future = coroutine.send(value)
    except StopIteration as end:
        result: T = end.value
        return result


async def _awaiting(awaitable: Awaitable[T]) -> T:
    return await awaitable


@types.coroutine
def traced(run: Run) -> Generator[Any, Any, Any]:
    """Runs `run.call()` in a greenlet of its own, in this asyncio task's context, and returns what it returns."""
    trace = TraceGreenlet(run.call)
    trace.gr_context = getcurrent().gr_context
    future = trace.switch()
    while not trace.dead:
        try:
            value = yield future
        except asyncio.CancelledError as cancelled:
            future = trace.throw(run.instead_of(cancelled))
        except BaseException as error:
            future = trace.throw(error)
        else:
            future = trace.switch(value)
    return future
