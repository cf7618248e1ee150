"""Runs coroutines for Celery's synchronous tracer: one event loop on a thread of its own in each worker process.

The loop and the parts on it come to life with the first task, so that a prefork child makes its own after the fork.
When the worker has stopped taking work, `hand_back_after` gives what still runs a while and then cancels it; the runner
returns such tasks to their queue.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from tasks.parts import Parts

T = TypeVar("T")
Work = Callable[["Parts"], Coroutine[Any, Any, T]]


class LoopThread:
    """An event loop on a daemon thread, with the process's parts open on it."""

    def __init__(self, open_parts: Callable[[], Coroutine[Any, Any, Parts]]) -> None:
        self._loop = asyncio.new_event_loop()
        self._running: set[asyncio.Task[Any]] = set()
        threading.Thread(target=self._loop.run_forever, name="moorage-loop", daemon=True).start()
        self.parts = self._call(open_parts())

    def run(self, work: Work[T]) -> T:
        """Runs `work(parts)` to its end and returns its result, or raises what it raises."""
        return self._call(self._watched(work))

    def hand_back_after(self, grace_seconds: float) -> None:
        """Cancels whatever still runs when `grace_seconds` have passed."""
        self._loop.call_soon_threadsafe(self._loop.call_later, grace_seconds, self._hand_back)

    def close(self) -> None:
        """Closes the parts and ends the loop."""
        self._call(self.parts.close())
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    async def _watched(self, work: Work[T]) -> T:
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        try:
            return await work(self.parts)
        finally:
            self._running.discard(task)

    def _hand_back(self) -> None:
        for task in self._running:
            task.cancel()


_opener: Callable[[], Coroutine[Any, Any, Parts]] | None = None
_threads: dict[int, LoopThread] = {}
_lock = threading.Lock()


def use(open_parts: Callable[[], Coroutine[Any, Any, Parts]]) -> None:
    """Says how a process opens its parts. Called once, by the worker's wiring."""
    global _opener  # noqa: PLW0603 - Celery creates task classes, not us, so there is no object to hand it to
    _opener = open_parts


def run(work: Work[T]) -> T:
    """Runs `work(parts)` on this process's loop and waits for it."""
    with _lock:
        thread = _threads.get(os.getpid())
        if thread is None:
            if _opener is None:
                raise RuntimeError("tasks run in a worker: start it with `moorage worker` or `celery -A tasks.worker`")
            thread = _threads[os.getpid()] = LoopThread(_opener)
    return thread.run(work)


def stop_soon(grace_seconds: float) -> None:
    """Lets running work go on for `grace_seconds`, then hands it back. Does nothing where no task has run."""
    if thread := _threads.get(os.getpid()):
        thread.hand_back_after(grace_seconds)


def close() -> None:
    """Closes this process's parts, once nothing runs any more."""
    if thread := _threads.pop(os.getpid(), None):
        thread.close()
