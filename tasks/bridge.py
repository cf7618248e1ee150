"""Runs coroutines for Celery's synchronous tracer: one event loop on a thread of its own in each worker process.

The loop and the parts on it come to life with the first task, so that a prefork child makes its own after the fork.
When the worker stops, every process of it lets what runs go on for the grace and then cancels it, and whatever begins
later; the runner returns such tasks to their queue.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

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


class LoopThread:
    """An event loop on a daemon thread, with the process's parts open on it."""

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring
        self._loop = asyncio.new_event_loop()
        self._running: set[asyncio.Task[Any]] = set()
        self._handing_back = False
        self._thread = threading.Thread(target=self._loop.run_forever, name="moorage-loop", daemon=True)
        self._thread.start()
        try:
            self.parts = self._call(self._open())
        except BaseException:
            self._end()
            raise

    def run(self, work: Work[T]) -> T:
        """Runs `work(parts)` to its end and returns its result, or raises what it raises."""
        return self._call(self._watched(work))

    def close(self) -> None:
        """Closes the parts and ends the loop."""
        self._call(self.parts.close())
        self._end()

    def _call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    async def _open(self) -> Parts:
        parts = await self._wiring.open_parts()
        self._loop.add_reader(self._wiring.stop_readable, self._on_stop)
        return parts

    async def _watched(self, work: Work[T]) -> T:
        task = asyncio.current_task()
        assert task is not None
        if self._handing_back:
            task.cancel()
        self._running.add(task)
        try:
            return await work(self.parts)
        finally:
            self._running.discard(task)

    def _on_stop(self) -> None:
        self._loop.remove_reader(self._wiring.stop_readable)
        self._loop.call_later(self._wiring.grace_seconds, self._hand_back)

    def _hand_back(self) -> None:
        self._handing_back = True
        for task in self._running:
            task.cancel()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(ENDING_SECONDS)


_wiring: Wiring | None = None
_threads: dict[int, LoopThread] = {}
_lock = threading.Lock()


def use(open_parts: Callable[[], Coroutine[Any, Any, Parts]], grace_seconds: float) -> None:
    """Says how a process opens its parts and how it stops. Called once, by the worker's wiring, before any fork."""
    global _wiring  # noqa: PLW0603 - Celery creates task classes, not us, so there is no object to hand it to
    _wiring = Wiring(open_parts, grace_seconds, *os.pipe())


def run(work: Work[T]) -> T:
    """Runs `work(parts)` on this process's loop and waits for it."""
    with _lock:
        thread = _threads.get(os.getpid())
        if thread is None:
            if _wiring is None:
                raise RuntimeError("tasks run in a worker: start it with `moorage worker` or `celery -A tasks.worker`")
            thread = _threads[os.getpid()] = LoopThread(_wiring)
    return thread.run(work)


def stop_soon() -> None:
    """Lets work go on for the grace, in this process and those forked from it, and then hands it back."""
    if _wiring is not None:
        os.write(_wiring.stop_writable, b".")


def close() -> None:
    """Closes this process's parts, once nothing runs any more."""
    if thread := _threads.pop(os.getpid(), None):
        thread.close()
