"""Threads for plain `def` bodies: a bounded number, each interruptible between two bytecodes.

A thread that sits in a call of C (a socket, `time.sleep`) hears of its end when the call returns. One that has not
ended in time is left behind: its place goes to a new thread, and it ends with its body, or with the process.
"""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import itertools
import queue
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from billiard.exceptions import SoftTimeLimitExceeded

from tasks.pool.run import Ended, Phase, Run

_INTERRUPTS = (SoftTimeLimitExceeded, Ended)
_set_async_exception = ctypes.pythonapi.PyThreadState_SetAsyncExc
_numbers = itertools.count(1)


class BodyThread:
    """One thread, and the run it has."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._inbox: queue.SimpleQueue[tuple[Callable[[], Any], asyncio.Future[Any]] | None] = queue.SimpleQueue()
        name = f"celery-asyncio-body-{next(_numbers)}"
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()

    def perform(self, run: Run) -> asyncio.Future[Any]:
        """Runs `run.call()` in the thread, in a copy of the caller's context."""
        run.thread, run.lock = self, threading.RLock()
        context = contextvars.copy_context()
        done = self._loop.create_future()
        self._inbox.put((lambda: context.run(self._call, run), done))
        return done

    def close(self) -> None:
        """Ends the thread once it has nothing to do."""
        self._inbox.put(None)

    def interrupt(self, run: Run, error: type[BaseException]) -> None:
        """Raises `error` in the run's body, if it is still in there."""
        with run.lock:
            if run.phase is Phase.BODY:
                _raise_in(self._thread.ident, error)

    def leave_body(self, run: Run) -> None:
        """Marks the end of the run's body. Interrupts that are on their way find nothing to interrupt."""
        while run.phase is not Phase.LEFT:
            try:
                with run.lock:
                    run.phase = Phase.LEFT
                    _raise_in(self._thread.ident, None)
            except _INTERRUPTS:
                run.phase = Phase.BODY  # it came between those two lines: once more

    def _call(self, run: Run) -> Any:
        try:
            return run.call()
        finally:
            if run.phase is Phase.BODY:  # an interrupt came just before the body could be left
                self.leave_body(run)

    def _serve(self) -> None:
        while job := self._inbox.get():
            call, done = job
            result, error = None, None
            try:
                result = call()
            except BaseException as caught:
                error = caught
            try:
                self._loop.call_soon_threadsafe(_settle, done, result, error)
            except RuntimeError:  # the loop is closed: the process ends
                return
            del call, done, job, result, error


class BodyThreads:
    """At most `limit` threads that are not left behind; runs wait in line for them. Lives on the loop."""

    def __init__(self, limit: int) -> None:
        self.limit, self.busy, self.left_behind = limit, 0, 0
        self._idle: list[BodyThread] = []
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def run(self, run: Run, on_start: Callable[[Run], None]) -> Any:
        """Runs the run's call in a thread once one is free; `on_start(run)` is called just before."""
        await self._take_place()
        thread = self._idle.pop() if self._idle else BodyThread(asyncio.get_running_loop())
        done = thread.perform(run)
        abandoned = False
        try:
            on_start(run)
            return await done
        except asyncio.CancelledError:
            abandoned = done.cancelled()
            raise
        finally:
            if abandoned:
                self._leave_behind(thread)
            else:
                self._idle.append(thread)
            self._give_place()

    def close(self) -> None:
        """Ends the idle threads."""
        while self._idle:
            self._idle.pop().close()

    async def _take_place(self) -> None:
        if self.busy < self.limit:
            self.busy += 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._give_place()
            raise

    def _give_place(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.busy -= 1

    def _leave_behind(self, thread: BodyThread) -> None:
        self.left_behind += 1
        thread.close()


def _raise_in(thread_id: int | None, error: type[BaseException] | None) -> None:
    """Has the thread raise `error` at its next bytecode; None takes back what it has not raised yet."""
    _set_async_exception(ctypes.c_ulong(thread_id or 0), ctypes.py_object(error) if error else None)


def _settle(done: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if done.done():
        return
    if error is None:
        done.set_result(result)
    elif isinstance(error, StopIteration):  # a future refuses it
        done.set_exception(RuntimeError(f"the body raised {error!r}"))
    else:
        done.set_exception(error)
