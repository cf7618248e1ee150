"""Recycles the worker: after N tasks, or when it holds more than M MiB, it stops warmly and exits with code 75.

Whoever supervises it starts it again. Nothing is lost: it takes no new messages, finishes what runs, and after a grace
hands the rest back. Celery's `worker_max_tasks_per_child` and `worker_max_memory_per_child` (KiB) say when. Neither is
heeded in the first minute, nor is a memory limit that the worker exceeds from the start: a worker that restarts all the
time does no work.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from typing import Any

from celery import signals
from celery.utils.log import get_logger
from celery.worker import state

from tasks.pool.memory import resident_kib

EXIT_CODE = os.EX_TEMPFAIL
"""75, "temporary failure, try again": not 0, so that `restart: on-failure` restarts too; none of Celery's own."""

LEAST_LIFE_SECONDS = 60.0
LOOK_SECONDS = 1.0
"""How often memory is looked at, at most."""

log: logging.Logger = get_logger(__name__)


class Recycling:
    """Counts finished tasks and decides, once, that the worker has run for long enough."""

    def __init__(
        self,
        *,
        max_tasks: int | None,
        max_memory_kib: int | None,
        stop: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        memory_kib: Callable[[], int] = resident_kib,
    ) -> None:
        """`stop` is told why. Limits that are None or 0 are none."""
        self._max_tasks = max_tasks
        self._stop, self._clock, self._memory_kib = stop, clock, memory_kib
        self._finished = 0
        self._earliest_at = self._look_at = clock() + LEAST_LIFE_SECONDS
        self._is_over = not (max_tasks or max_memory_kib)
        if max_memory_kib and (held_kib := memory_kib()) >= max_memory_kib:
            log.warning("A memory limit of %d KiB is ignored: the worker starts with %d KiB", max_memory_kib, held_kib)
            max_memory_kib = None
        self._max_memory_kib = max_memory_kib

    def task_done(self) -> None:
        """A task has ended."""
        self._finished += 1
        if not self._is_over and (reason := self._reason(self._clock())):
            self._is_over = True
            self._stop(reason)

    def _reason(self, now: float) -> str | None:
        if now < self._earliest_at:
            return None
        if self._max_tasks and self._finished >= self._max_tasks:
            return f"{self._finished} tasks are done, and {self._max_tasks} are enough"
        if self._max_memory_kib and now >= self._look_at:
            self._look_at = now + LOOK_SECONDS
            if (held_kib := self._memory_kib()) > self._max_memory_kib:
                return f"it holds {held_kib} KiB, and {self._max_memory_kib} are enough"
        return None


def stop_worker(hostname: str, reason: str) -> None:
    """Has Celery stop the worker warmly, as SIGTERM does, but with our exit code."""
    log.warning(
        "The worker recycles itself: %s. It exits with code %d and wants to be started again", reason, EXIT_CODE
    )
    try:
        signals.worker_shutting_down.send(sender=hostname, sig="RECYCLE", how="Warm", exitcode=EXIT_CODE)
    finally:
        state.should_stop = EXIT_CODE  # type: ignore[assignment]  # the stubs know its first value only


def hand_back(pool: Any) -> None:
    """Cancels what runs and has not been acknowledged: with the worker's end its messages go back to their queues."""
    for request in tuple(state.active_requests):
        if request.task.acks_late and not request.acknowledged and request.id not in state.successful_requests:
            request.cancel(pool, emit_retry=False)
