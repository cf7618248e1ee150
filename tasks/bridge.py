"""Runs coroutines for Celery's synchronous tracer, with this process's parts.

A task in the asyncio pool awaits right there, on the pool's loop. Anywhere else (prefork, threads, the pool's child
processes) it waits for an event loop on a thread of its own. Either comes to life with the first task, so that a child
makes its own. When the worker stops, every process of it lets what runs go on for the grace and then cancels it, and
whatever begins later; the runner gives such tasks back to their queue.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from tasks.pool import at_loop_end, await_, in_trace

if TYPE_CHECKING:
    from tasks.parts import Parts

T = TypeVar("T")
Work = Callable[["Parts"], Coroutine[Any, Any, T]]

ENDING_SECONDS = 5.0


class Wiring(msgspec.Struct, frozen=True):
    """How a process opens its parts, how long work may go on once the worker stops, and how it hears of that.

    The stop is a byte in a pipe that is never read: forked children inherit the pipe, and all of them see it.
    """

    open_parts: Callable[[], Coroutine[Any, Any, Parts]]
    grace_seconds: float
    stop_readable: int
    stop_writable: int


class Shift:
    """One event loop's parts, and what works with them until the worker stops."""

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring
        self._opening = asyncio.Lock()
        self._parts: Parts | None = None
        self._running: set[asyncio.Task[Any]] = set()
        self._handing_back = False

    async def run(self, work: Work[T]) -> T:
        """Does `work(parts)`; cancels it when the worker has stopped and the grace is over."""
        parts = self._parts or await self.open()
        task = asyncio.current_task()
        assert task is not None
        if self._handing_back:
            task.cancel()
        self._running.add(task)
        try:
            return await work(parts)
        finally:
            self._running.discard(task)

    async def open(self) -> Parts:
        """Opens the parts, once; what could not be opened is tried anew by the next."""
        async with self._opening:
            if self._parts is None:
                self._parts = await self._wiring.open_parts()
                asyncio.get_running_loop().add_reader(self._wiring.stop_readable, self._on_stop)
            return self._parts

    async def close(self) -> None:
        """Closes the parts."""
        asyncio.get_running_loop().remove_reader(self._wiring.stop_readable)
        parts, self._parts = self._parts, None
        if parts is not None:
            await parts.close()

    def _on_stop(self) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._wiring.stop_readable)
        loop.call_later(self._wiring.grace_seconds, self._hand_back)

    def _hand_back(self) -> None:
        self._handing_back = True
        for task in self._running:
            task.cancel()


class LoopThread:
    """An event loop on a daemon thread, with the process's parts open on it."""

    def __init__(self, wiring: Wiring) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="moorage-loop", daemon=True)
        self._thread.start()
        self._shift = Shift(wiring)
        try:
            self._call(self._shift.open())
        except BaseException:
            self._end()
            raise

    def run(self, work: Work[T]) -> T:
        """Runs `work(parts)` to its end and returns its result, or raises what it raises."""
        return self._call(self._shift.run(work))

    def close(self) -> None:
        """Closes the parts and ends the loop."""
        self._call(self._shift.close())
        self._end()

    def _call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(ENDING_SECONDS)


_wiring: Wiring | None = None
_threads: dict[int, LoopThread] = {}
_on_pool: Shift | None = None
_lock = threading.Lock()


def use(open_parts: Callable[[], Coroutine[Any, Any, Parts]], grace_seconds: float) -> None:
    """Says how a process opens its parts and how it stops. Called once, by the worker's wiring, before any fork."""
    global _wiring  # noqa: PLW0603 - Celery creates task classes, not us, so there is no object to hand it to
    _wiring = Wiring(open_parts, grace_seconds, *os.pipe())


def run(work: Work[T]) -> T:
    """Runs `work(parts)` and waits for it, in the pool without holding up other tasks."""
    if in_trace():
        return await_(_pool_shift().run(work))
    with _lock:
        thread = _threads.get(os.getpid())
        if thread is None:
            thread = _threads[os.getpid()] = LoopThread(_known_wiring())
    return thread.run(work)


def stop_soon() -> None:
    """Lets work go on for the grace, in this process and those forked from it, and then hands it back."""
    if _wiring is not None:
        os.write(_wiring.stop_writable, b".")


def close() -> None:
    """Closes this process's parts, once nothing runs any more. What is on the pool's loop closes with that."""
    if thread := _threads.pop(os.getpid(), None):
        thread.close()


def _pool_shift() -> Shift:
    global _on_pool  # noqa: PLW0603 - as above
    if _on_pool is None:
        _on_pool = Shift(_known_wiring())
        at_loop_end(_end_of_pool)
    return _on_pool


async def _end_of_pool() -> None:
    global _on_pool
    shift, _on_pool = _on_pool, None
    if shift is not None:
        await shift.close()


def _known_wiring() -> Wiring:
    if _wiring is None:
        raise RuntimeError("tasks run in a worker: start it with `moorage worker` or `celery -A tasks.worker`")
    return _wiring
