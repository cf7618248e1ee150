"""Runs calls in child processes: bodies that keep a core busy in a few that stay, suspects apart from everything else.

No child exists before it is needed, and an idle one costs its memory only. A call that is cancelled or too slow takes
its child with it; the next call gets a new one, and no other call notices.

A lone call has a process to itself while it runs. Since starting one takes as long as ten thousand calls, and many
kills in a row make many suspects, the next suspect may have it afterwards: should it die then, nobody is blamed, and
the call is made again in a fresh one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from billiard.exceptions import TimeLimitExceeded, WorkerLostError
from celery.exceptions import Reject
from celery.utils.log import get_logger

from tasks.pool.child import Child, ChildDied
from tasks.pool.frames import SOFT_LIMIT_SIGNAL, Call
from tasks.pool.memory import resident_kib

GOODBYE_SECONDS = 5.0
"""How long a child that is no longer needed may take to end."""

LONE_REST_SECONDS = 10.0
"""How long a child that has run a suspect waits for the next."""

START_PAUSE_SECONDS = 5.0
"""The pause after a child that could not start, so that a broken installation does not spin."""

log: logging.Logger = get_logger(__name__)


class Children:
    """The child processes of one worker. Lives on the pool's event loop."""

    def __init__(
        self,
        application: str,
        hostname: str,
        *,
        processes: int,
        lone_processes: int,
        max_calls: int | None = None,
        max_memory_kib: int | None = None,
    ) -> None:
        """`application` is what a child imports, as `celery -A` spells it: "package.module:app".

        `processes` stay and take one call at a time; beside them there are up to `lone_processes` for lone calls.
        One that has taken `max_calls`, or holds more than `max_memory_kib` after a call, is replaced.
        """
        self._application, self._hostname = application, hostname
        self._max_calls, self._max_memory_kib = max_calls, max_memory_kib
        self._turns = asyncio.Semaphore(processes)
        self._lone_turns = asyncio.Semaphore(lone_processes)
        self._all: set[Child] = set()
        self._idle: list[Child] = []
        self._lone_idle: dict[Child, asyncio.TimerHandle] = {}
        self._goodbyes: dict[Child, asyncio.Task[None]] = {}

    async def run(
        self,
        call: Call,
        *,
        soft_seconds: float | None = None,
        hard_seconds: float | None = None,
        alone: bool = False,
        on_begin: Callable[[int], None] = lambda pid: None,
        on_soft_limit: Callable[[], None] = lambda: None,
    ) -> Any:
        """Runs the call in a child and returns what it returns; raises what it raises.

        The limits count from the call's begin, which `on_begin` is told, and not while it waits for a child. Past the
        soft one SoftTimeLimitExceeded is raised in the body (and `on_soft_limit` told), past the hard one the child is
        killed and TimeLimitExceeded raised here. A child that dies by itself: WorkerLostError, or for a call that was
        `alone` ChildDied, once it has died of this call and no other. No child could be started: Reject, so that the
        message goes back. Cancelling kills the child.
        """
        async with self._lone_turns if alone else self._turns:
            child = await self._taken(alone)
            on_begin(child.pid)
            while True:
                was_fresh = not child.calls
                try:
                    with _soft_limit(child, soft_seconds, on_soft_limit):
                        return await _within(hard_seconds, child.call(call))
                except ChildDied as died:
                    if not alone:
                        raise WorkerLostError(str(died)) from None
                    if was_fresh:
                        raise
                finally:
                    self._give_back(child, alone)
                child = await self._started()

    def stop_soon(self) -> None:
        """Tells every child that the worker takes no new work, as the worker's own process is told."""
        for child in self._all:
            child.stop_soon()

    async def close(self) -> None:
        """Ends them all: those at rest say goodbye, those that still run something are killed."""
        for child in self._all.difference(self._idle, self._lone_idle):
            child.kill()
        self._idle.clear()
        for child in self._all:
            self._dismiss(child)
        await asyncio.gather(*self._goodbyes.values())

    async def _taken(self, alone: bool) -> Child:
        while child := self._rested(alone):
            if child.is_usable:
                return child
            self._dismiss(child)
        return await self._started()

    def _rested(self, alone: bool) -> Child | None:
        if not alone:
            return self._idle.pop() if self._idle else None
        if not self._lone_idle:
            return None
        child, timer = self._lone_idle.popitem()
        timer.cancel()
        return child

    async def _started(self) -> Child:
        try:
            child = await Child.start(self._application, self._hostname)
        except (ChildDied, OSError) as error:
            log.error("A child process that imports %s could not be started: %s", self._application, error)
            await asyncio.sleep(START_PAUSE_SECONDS)
            raise Reject(f"no child process could be started: {error}", requeue=True) from error
        self._all.add(child)
        return child

    def _give_back(self, child: Child, alone: bool) -> None:
        if self._is_spent(child):
            self._dismiss(child)
        elif alone:
            timer = asyncio.get_running_loop().call_later(LONE_REST_SECONDS, self._dismiss, child)
            self._lone_idle[child] = timer
        else:
            self._idle.append(child)

    def _is_spent(self, child: Child) -> bool:
        if not child.is_usable:
            return True
        if self._max_calls is not None and child.calls >= self._max_calls:
            return True
        return self._max_memory_kib is not None and resident_kib(child.pid) > self._max_memory_kib

    def _dismiss(self, child: Child) -> None:
        if child in self._goodbyes or child not in self._all:
            return
        if timer := self._lone_idle.pop(child, None):
            timer.cancel()

        def gone(_: object) -> None:
            self._all.discard(child)
            del self._goodbyes[child]

        goodbye = self._goodbyes[child] = asyncio.create_task(child.close(GOODBYE_SECONDS))
        goodbye.add_done_callback(gone)


@contextlib.contextmanager
def _soft_limit(child: Child, seconds: float | None, on_soft_limit: Callable[[], None]) -> Iterator[None]:
    def expire() -> None:
        child.signal(SOFT_LIMIT_SIGNAL)
        on_soft_limit()

    timer = asyncio.get_running_loop().call_later(seconds, expire) if seconds else None
    try:
        yield
    finally:
        if timer:
            timer.cancel()


async def _within(hard_seconds: float | None, running: Coroutine[Any, Any, Any]) -> Any:
    try:
        async with asyncio.timeout(hard_seconds or None) as limit:
            return await running
    except TimeoutError as error:
        if limit.expired():
            raise TimeLimitExceeded(hard_seconds) from error
        raise  # the body's own
