"""Celery's view of the pool: what it calls, and nothing that decides anything.

    app.conf.worker_pool = "tasks.pool:AsyncioPool"

Settings of Celery's own that are kept: concurrency (here 100 when none is given), time limits, prefetch, autoscaling,
`worker_pool_restarts`. Settings of the pool's own, read from the same configuration: see `settings.py`.
"""

from __future__ import annotations

import itertools
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Collection
from typing import Any

from celery.concurrency.base import BasePool
from celery.utils.log import get_logger

from tasks.pool import bodies, limits, recycling, stopping, watch
from tasks.pool.alone import SUSPECT_LOSSES
from tasks.pool.bell import AnsweringThread, Reports
from tasks.pool.celery_privates import decoded
from tasks.pool.children import Children
from tasks.pool.execution import Execution
from tasks.pool.loop import LoopThread
from tasks.pool.run import Phase, Place, Run
from tasks.pool.settings import PoolSettings
from tasks.pool.threads import BodyThreads

log: logging.Logger = get_logger(__name__)


class AsyncioPool(BasePool):
    """A worker pool with one event loop, threads for plain bodies, and child processes for heavy ones."""

    signal_safe = False
    uses_semaphore = True
    body_can_be_buffer = True

    def on_start(self) -> None:
        """Starts the loop. The threads and processes start when they are needed."""
        self.settings = PoolSettings.read(self.app)
        self._hostname: str = (self.options.get("initargs") or (None, ""))[1]
        self._ids = itertools.count(1)
        self._runs: dict[int, Run] = {}
        self._waiting: deque[Run] = deque()
        self._lock = threading.RLock()  # taken in signal handlers too
        self._places: dict[str, Place] = {}
        self._hub: Any = None
        self._loop = LoopThread()
        self._reports = Reports(self._loop.loop)
        self._threads = BodyThreads(self.settings.threads)
        self._children = self._make_children()
        self._recycling = recycling.Recycling(
            max_tasks=self.settings.max_tasks_per_child,
            max_memory_kib=self.settings.max_memory_kib,
            stop=self._recycle,
        )
        self._execution = Execution(
            self.app,
            self._loop.loop,
            self._reports,
            self._threads,
            self._children,
            self._on_over,
            self.settings.cancel_seconds,
        )
        self._loop.at_end(self._children.close)
        bodies.adapt_all(self.app)
        self._loop.start()
        self._watch = watch.Watch(self._loop, self._runs)
        watch.register(self._watch.seconds_since_last_sign, self._running_tags)
        self._answering = AnsweringThread(self._reports) if self.options.get("threads", True) else None

    def register_with_event_loop(self, hub: Any) -> None:
        """Has the hub answer our bell. Celery calls this after each (re)connect."""
        self._hub = hub
        hub.add_reader(self._reports.bell.fileno(), self._reports.answer)

    def apply_async(  # type: ignore[override]  # what Celery always gives is required here
        self,
        target: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any] | None = None,
        *,
        callback: Callable[..., object],
        accept_callback: Callable[..., object],
        error_callback: Callable[..., object],
        timeout_callback: Callable[..., object],
        soft_timeout: float | None = None,
        timeout: float | None = None,
        **_: Any,
    ) -> Run:
        """Runs `target(*args)`, which is Celery's tracer with a message, as soon as a slot is free."""
        options = self.options
        run = Run(
            next(self._ids),
            target,
            decoded(args, accept_callback),
            callback=callback,
            accept_callback=accept_callback,
            error_callback=error_callback,
            timeout_callback=timeout_callback,
            soft_seconds=soft_timeout or options.get("soft_timeout"),
            hard_seconds=timeout or options.get("timeout"),
        )
        with self._lock:
            if len(self._runs) < self.limit:
                self._begin(run)
            else:
                self._waiting.append(run)
        return run

    def terminate_job(self, pid: int, signal: int | None = None) -> None:
        """Cancels the run with this id: revoked, or to be handed back."""
        run = self._runs.get(pid)
        if run is not None:
            self._loop.soon(self._execution.terminate, run, signal)

    def flush(self) -> None:
        """Forgets what has not been accepted: the connection is gone, or the worker stops, and the messages go back."""
        with self._lock:
            self._waiting.clear()
        self._loop.soon(self._execution.drop_waiting, tuple(self._runs.values()))

    def on_close(self) -> None:
        """The worker takes no new work."""
        self._loop.soon(self._children.stop_soon)

    def on_stop(self) -> None:
        """Lets what runs end, and then the loop: a warm stop, or a cold one whose runs Celery has cancelled.

        A worker that has broken down waits no longer than one that recycles itself: it shall be started again.
        """
        self.flush()
        if not stopping.is_asked_for():
            self._hand_back_later()
        if self._answering is not None:
            self._answering.stop()
        stopping.wait_until(lambda: not self._runs, self._reports, self._hub)
        self._end()

    def on_terminate(self) -> None:
        """Cancels what still runs, lets the `finally` blocks do their work, and ends the loop."""
        for run_id in tuple(self._runs):
            self.terminate_job(run_id)
        self.on_stop()

    def grow(self, n: int = 1) -> None:
        """Adds slots."""
        with self._lock:
            self.limit += n
            if (semaphore := self.options.get("semaphore")) is not None:
                semaphore.grow(n)
            self._begin_waiting()

    def shrink(self, n: int = 1) -> None:
        """Takes slots away; what runs in them ends first. Raises ValueError below none."""
        with self._lock:
            if n > self.limit:
                raise ValueError(f"there are {self.limit} slots, and {n} shall go")
            self.limit -= n
            if (semaphore := self.options.get("semaphore")) is not None:
                semaphore.shrink(n)

    def restart(self) -> None:
        """After `pool_restart` has loaded modules again: what starts from now on runs their code."""
        self._places.clear()
        bodies.adapt_all(self.app)

    def _get_info(self) -> dict[str, Any]:
        info: dict[str, Any] = super()._get_info()  # type: ignore[misc]  # the stubs leave it out
        return info | {
            "processes": [os.getpid()],
            "running": len(self._runs),
            "waiting": len(self._waiting),
            "threads": {
                "max-concurrency": self._threads.limit,
                "busy": self._threads.busy,
                "left-behind": self._threads.left_behind,
            },
            "timeouts": [self.options.get("soft_timeout") or 0, self.options.get("timeout") or 0],
        }

    def _begin(self, run: Run) -> None:
        self._settle(run)
        self._runs[run.id] = run
        if run.place is Place.LOOP:  # begins at once; the others are accepted when their thread or process is there
            run.phase = Phase.ACCEPTED
            try:
                run.accept_callback(run.id, time.monotonic())
            except Exception:
                log.exception("Celery could not take note of %s[%s]", run.name, run.request["id"])
        self._execution.submit(run)

    def _settle(self, run: Run) -> None:
        """Decides where and how long it runs. What is wrong with that fails the run: the hub hears nothing of it."""
        try:
            limits.check(run.soft_seconds, run.hard_seconds)
            run.place = self._place(run)
        except Exception as error:
            log.exception("%s[%s] cannot be run", run.name, run.request["id"])
            run.fail_with(error)

    def _begin_waiting(self) -> None:
        while self._waiting and len(self._runs) < self.limit:
            self._begin(self._waiting.popleft())

    def _on_over(self, run: Run) -> None:
        with self._lock:
            self._runs.pop(run.id, None)
            if (semaphore := self.options.get("semaphore")) is not None:
                semaphore.release()
            self._begin_waiting()
        self._recycling.task_done()

    def _recycle(self, reason: str) -> None:
        recycling.stop_worker(self._hostname, reason)
        self._hand_back_later()

    def _hand_back_later(self) -> None:
        grace_seconds = self.settings.recycle_grace_seconds
        self._loop.soon(self._loop.loop.call_later, grace_seconds, self._reports.tell, recycling.hand_back, self)

    def _place(self, run: Run) -> Place:
        if run.losses >= SUSPECT_LOSSES:
            return Place.PROCESS
        place = self._places.get(run.name)
        if place is None:
            task = self.app.tasks[run.name]
            bodies.adapt_late(self.app, task)
            place = self._places[run.name] = bodies.place_of(task)
        return place

    def _running_tags(self) -> Collection[str]:
        return [tag for run in tuple(self._runs.values()) if run.is_accepted and (tag := run.delivery_tag)]

    def _make_children(self) -> Children:
        settings = self.settings
        return Children(
            settings.application,
            self._hostname,
            processes=settings.processes,
            lone_processes=settings.lone_processes,
            max_calls=settings.max_tasks_per_child,
            max_memory_kib=settings.max_memory_kib,
        )

    def _end(self) -> None:
        self._watch.stop()
        self._loop.stop(self.settings.cancel_seconds)
        self._threads.close()
