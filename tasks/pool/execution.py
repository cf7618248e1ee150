"""Performs runs on the event loop: each in its place, within its limits, and reports to Celery what came of it."""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from billiard.einfo import ExceptionInfo
from billiard.exceptions import TimeLimitExceeded
from celery import Celery
from celery.utils.log import get_logger

from tasks.pool import alone, bodies, scope
from tasks.pool.bell import Reports
from tasks.pool.celery_privates import Terminated
from tasks.pool.child import ChildDied
from tasks.pool.children import Children
from tasks.pool.run import Ended, Fate, Phase, Place, Run
from tasks.pool.threads import BodyThreads
from tasks.pool.tracing import traced

SIGTERM = 15

log: logging.Logger = get_logger(__name__)


class Execution:
    """What happens on the loop. All of it but `submit` and `soon` belongs to the loop's thread."""

    def __init__(
        self,
        app: Celery,
        loop: asyncio.AbstractEventLoop,
        reports: Reports,
        threads: BodyThreads,
        children: Children,
        on_over: Callable[[Run], None],
        cancel_seconds: float,
    ) -> None:
        self._app, self._loop, self._reports = app, loop, reports
        self._threads, self._children = threads, children
        self._on_over = on_over
        self._cancel_seconds = cancel_seconds
        self._fresh: deque[Run] = deque()
        self._is_spawning = False

    def submit(self, run: Run) -> None:
        """Starts the run, together with others that come in the same moment."""
        self._fresh.append(run)
        if not self._is_spawning:
            self._is_spawning = True
            self._loop.call_soon_threadsafe(self._spawn)

    def terminate(self, run: Run, signal: int | None) -> None:
        """Cancels the run's body."""
        run.signal = signal
        self._end(run, Fate.TERMINATED)

    def drop_waiting(self, runs: Iterable[Run]) -> None:
        """Forgets those of the runs that have not been accepted: their messages go back."""
        for run in runs:
            if not run.is_accepted:
                self._end(run, Fate.DROPPED)

    def _spawn(self) -> None:
        self._is_spawning = False
        fresh, create_task = self._fresh, self._loop.create_task
        while fresh:
            create_task(self._perform(fresh.popleft()))

    async def _perform(self, run: Run) -> None:
        run.task = asyncio.current_task()  # not earlier: a task that is cancelled before its first step takes none
        scope.current.set(run)
        timers = self._limits(run) if run.is_accepted else []
        try:
            if run.place is Place.LOOP:
                outcome = await traced(run)
            elif run.fate is not None:
                raise Ended(run.fate.value)
            elif run.place is Place.THREAD:
                outcome = await self._threads.run(run, lambda run: timers.extend(self._accept(run)))
            else:
                outcome = await self._in_child(run)
        except BaseException as error:
            self._failed(run, error)
        else:
            self._over(run, run.callback, outcome)
        finally:
            self._over(run)  # whatever has happened: a slot must not be lost
            run.task = None  # it holds the context, which holds the run: let none of them wait for the collector
            for timer in timers:
                timer.cancel()

    async def _in_child(self, run: Run) -> Any:
        try:
            return await self._children.run(
                functools.partial(bodies.call_in_child, run.call.func, *run.call.args),
                soft_seconds=run.soft_seconds,
                hard_seconds=run.hard_seconds,
                alone=run.losses >= alone.SUSPECT_LOSSES,
                on_begin=lambda pid: self._accepted(run),
                on_soft_limit=lambda: self._reports.tell(run.timeout_callback, True, run.soft_seconds),
            )
        except TimeLimitExceeded:
            run.fate = Fate.HARD_LIMIT
            self._reports.tell(run.timeout_callback, False, run.hard_seconds)
            raise
        except ChildDied as died:
            run.call = functools.partial(alone.conclude, self._app.tasks[run.name], run.request, died)
            raise await traced(run) from None

    def _failed(self, run: Run, error: BaseException) -> None:
        if run.fate is Fate.TERMINATED:
            error = Terminated(run.signal or SIGTERM)
        elif run.fate is not None:
            return self._over(run)
        return self._over(run, run.error_callback, _information(error))

    def _over(self, run: Run, callback: Callable[..., object] | None = None, *arguments: Any) -> None:
        if run.phase is Phase.OVER:  # it had been given up
            return
        run.phase = Phase.OVER
        if callback is not None:
            self._reports.tell(callback, *arguments)
        self._reports.tell(self._on_over, run)

    def _accept(self, run: Run) -> list[asyncio.TimerHandle]:
        self._accepted(run)
        return self._limits(run)

    def _accepted(self, run: Run) -> None:
        run.phase = Phase.ACCEPTED
        self._reports.tell(run.accept_callback, run.id, time.monotonic())

    def _limits(self, run: Run) -> list[asyncio.TimerHandle]:
        timers = []
        if run.soft_seconds:
            timers.append(self._loop.call_later(run.soft_seconds, self._soft_limit, run))
        if run.hard_seconds:
            timers.append(self._loop.call_later(run.hard_seconds, self._hard_limit, run))
        return timers

    def _soft_limit(self, run: Run) -> None:
        if run.exceed_soft_limit():
            self._reports.tell(run.timeout_callback, True, run.soft_seconds)

    def _hard_limit(self, run: Run) -> None:
        if self._end(run, Fate.HARD_LIMIT):
            self._reports.tell(run.timeout_callback, False, run.hard_seconds)

    def _end(self, run: Run, fate: Fate) -> bool:
        if not run.end(fate):
            return False
        self._loop.call_later(self._cancel_seconds, self._insist, run)
        return True

    def _insist(self, run: Run) -> None:
        if run.phase is Phase.OVER:
            return
        log.warning("%s[%s] was cancelled %g s ago and still runs", run.name, run.request["id"], self._cancel_seconds)
        run.abandon()
        self._loop.call_later(self._cancel_seconds, self._give_up, run)

    def _give_up(self, run: Run) -> None:
        if run.phase is not Phase.OVER:
            log.error("%s[%s] swallows its cancellation; no longer waited for", run.name, run.request["id"])
            self._failed(run, Ended())


def _information(error: BaseException) -> ExceptionInfo:
    try:
        raise error  # billiard wants a traceback
    except BaseException:
        return ExceptionInfo()
