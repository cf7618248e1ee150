"""The thread with the event loop on which `async def` bodies run, and what is closed with it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Awaitable, Callable
from typing import Any

from celery.utils.log import get_logger

log: logging.Logger = get_logger(__name__)

Closer = Callable[[], Awaitable[object]]

_closers: list[Closer] = []


def at_loop_end(closer: Closer) -> Closer:
    """Has `await closer()` run on the pool's loop when no task runs any more, the last registered first."""
    _closers.append(closer)
    return closer


def new_event_loop() -> asyncio.AbstractEventLoop:
    """uvloop's where it is installed, which saves a sixth of what a small task costs; else asyncio's own."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


class LoopThread:
    """An event loop that runs on a daemon thread until it is stopped."""

    def __init__(self) -> None:
        self.loop = new_event_loop()
        self.thread = threading.Thread(target=self._run, name="celery-asyncio-loop", daemon=True)
        self._is_stopping = False
        self._closers: list[Closer] = []

    def start(self) -> None:
        """Starts the thread."""
        self.thread.start()

    def at_end(self, closer: Closer) -> None:
        """Has `await closer()` run when the loop ends, before what `at_loop_end` was given."""
        self._closers.append(closer)

    def soon(self, function: Callable[..., object], *arguments: Any) -> None:
        """Calls `function(*arguments)` on the loop's thread; does nothing once the loop has ended."""
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(function, *arguments)

    def stop(self, seconds: float) -> None:
        """Closes what was registered, cancels what still runs, and waits that long for the thread's end."""
        if not self._is_stopping:
            self._is_stopping = True
            self.soon(self.loop.stop)
        self.thread.join(seconds)
        if self.thread.is_alive():
            log.error("The event loop has not ended within %g s: a body blocks it", seconds)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        while not self._is_stopping:
            try:
                self.loop.run_forever()
            except (SystemExit, KeyboardInterrupt):  # asyncio lets these two of a body's own tasks end the loop
                log.exception("A task that a body has started tried to end the worker")
        self.loop.run_until_complete(self._close())
        self.loop.close()

    async def _close(self) -> None:
        for closer in (*self._closers, *reversed(_closers)):
            try:
                await closer()
            except Exception:
                log.exception("Not closed properly: %r", closer)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=1.0)  # one that swallows its cancellation is not waited for
        await self.loop.shutdown_asyncgens()
