"""Hears Celery's signals: counts every task's fate, writes its log lines, and carries the log context along.

Only observability rides on signals, since Celery drops what a receiver raises: no promise may hang on them. Code that
publishes by hand must send `before_task_publish` and `after_task_publish` itself to be seen.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, MutableMapping
from typing import Any

import structlog
from celery import signals
from celery.utils.dispatch import Signal
from celery.utils.log import get_multiprocessing_logger
from structlog.typing import FilteringBoundLogger

from observability import context, metrics
from observability.attempts import UNKNOWN, Attempt, Attempts, number_of
from observability.logs import quick_lines
from observability.metrics import Metric
from observability.quick_lines import encode_words
from observability.totals import Push, Totals

LOGGER = "moorage.tasks"


class TaskObserver:
    """The receivers, and what they share.

    `node_name` labels what this process counts until it turns out to be a worker, which has a name of its own. Attempts
    of `quiet_actors` are logged at debug, unless they fail: what beat sends every few seconds would drown the rest.
    """

    def __init__(self, totals: Totals, node_name: str, quiet_actors: Collection[str] = ()) -> None:
        self._totals = totals
        self._node_name = node_name
        self._quiet_actors = frozenset(quiet_actors)
        self._attempts = Attempts()
        self._log: FilteringBoundLogger = structlog.get_logger(LOGGER).bind()
        self._quick = quick_lines(LOGGER)

    def receivers(self) -> list[tuple[Signal, Callable[..., None]]]:
        """Which method hears which signal."""
        return [
            (signals.setup_logging, self.on_setup_logging),
            (signals.worker_init, self.on_worker_init),
            (signals.worker_process_init, self.on_process_init),
            (signals.before_task_publish, self.on_before_publish),
            (signals.after_task_publish, self.on_sent),
            (signals.task_received, self.on_received),
            (signals.task_prerun, self.on_started),
            (signals.task_success, self.on_succeeded),
            (signals.task_failure, self.on_failed),
            (signals.task_retry, self.on_retried),
            (signals.task_revoked, self.on_revoked),
            (signals.task_rejected, self.on_rejected),
            (signals.task_unknown, self.on_rejected),
            (signals.task_postrun, self.on_finished),
            (signals.worker_shutdown, self.on_shutdown),
            (signals.worker_process_shutdown, self.on_shutdown),
        ]

    def on_setup_logging(self, **_: object) -> None:
        """That somebody listens makes Celery leave logging as `logs.configure` has set it up.

        The pool's own logger is cut off from the rest until Celery gives it a handler, so it is joined on here.
        """
        if (pool_log := get_multiprocessing_logger()) is not None:
            pool_log.propagate = True
            pool_log.setLevel(logging.ERROR)

    def on_worker_init(self, sender: Any, **_: object) -> None:
        """This process is a worker: from now on it counts under the worker's node name."""
        self._node_name = sender.hostname

    def on_process_init(self, sender: str | None = None, **_: object) -> None:
        """This process is a worker's child, and counts under the worker's node name."""
        self._node_name = sender or self._node_name

    def on_before_publish(self, headers: MutableMapping[str, Any] | None = None, **_: object) -> None:
        """Gives the message the context of whoever sends it."""
        if headers is not None:
            context.write_headers(headers, time.time())

    def on_sent(self, sender: str, routing_key: str = "", **_: object) -> None:
        """A message is in its queue."""
        self._totals.add(metrics.TASKS_SENT.name, sender, self._node_name, routing_key or UNKNOWN)

    def on_received(self, request: Any, **_: object) -> None:
        """A worker has taken a message; here the main process learns what it is told nowhere else."""
        attempt = Attempt.of(request.id, request.task_name, request.request_dict)
        self._attempts.remember(attempt)
        self._count(metrics.TASKS_RECEIVED, attempt)

    def on_started(self, sender: Any, task_id: str, **_: object) -> None:
        """An attempt begins, in the thread or context that will run its body."""
        attempt = self._attempts.start(task_id, sender.name, vars(sender.request), time.perf_counter())
        words = attempt.words
        context.begin_attempt(words)
        if self._quick is not None and attempt.actor not in self._quiet_actors:
            attempt.encoded_words = encode_words(words)
        self._count(metrics.TASKS_STARTED, attempt)
        self._tell_quickly("task.started", attempt)

    def on_succeeded(self, sender: Any, **_: object) -> None:
        """An attempt has given its result, in the thread or context that ran its body."""
        attempt = self._attempts.running() or self._attempt(sender, sender.request.id)
        self._count(metrics.TASKS_SUCCEEDED, attempt)
        self._tell_quickly("task.succeeded", attempt)

    def on_failed(self, sender: Any, task_id: str, exception: BaseException, **_: object) -> None:
        """A task has failed for good; also told of what was rejected, lost with its process or out of time."""
        attempt = self._attempt(sender, task_id)
        if self._attempts.fails_first(attempt):
            self._count(metrics.TASKS_FAILED, attempt, type(exception).__name__)
            self._tell("task.failed", attempt, error_type=type(exception).__name__, error=str(exception))

    def on_retried(self, sender: Any, request: Any, reason: object = None, **_: object) -> None:
        """An attempt has failed, and there will be another."""
        attempt = self._attempt(sender, request.id, request)
        self._count(metrics.TASKS_RETRIED, attempt)
        self._tell("task.retrying", attempt, reason=str(reason or ""))

    def on_revoked(self, sender: Any, request: Any, expired: bool = False, **_: object) -> None:
        """A task was cancelled, before or while it ran, or waited past its expiry."""
        attempt = self._attempt(sender, request.id, request)
        self._count(metrics.TASKS_REVOKED, attempt)
        self._tell("task.revoked", attempt, reason="expired" if expired else "cancelled")

    def on_rejected(self, message: Any, **_: object) -> None:
        """A message nobody can run. Its task's name came over the wire, so it is a log word and never a label."""
        queue = (message.delivery_info or {}).get("routing_key") or UNKNOWN
        self._totals.add(metrics.TASKS_REJECTED.name, UNKNOWN, self._node_name, queue)
        headers = message.headers or {}
        name, task_id = str(headers.get("task"))[:200], str(headers.get("id"))[:200]
        self._log.warning("task.rejected", queue=queue, actor=name, task_id=task_id)

    def on_finished(self, **_: object) -> None:
        """The attempt is over, whatever came of it."""
        self._attempts.finish()
        context.clear()

    def on_shutdown(self, **_: object) -> None:
        """The last chance to hand on the counts: pool processes end without their exit handlers."""
        self._totals.flush()

    def _attempt(self, task: Any, task_id: str, request: Any = None) -> Attempt:
        """What is known of the attempt that a signal is about. Some come without the request, others beside it."""
        request = task.request if request is None else request
        if request.id != task_id:
            return self._attempts.latest(task_id) or Attempt(task_id, task.name)
        message = vars(request)
        return self._attempts.find(task_id, number_of(message)) or Attempt.of(task_id, task.name, message)

    def _count(self, metric: Metric, attempt: Attempt, *more_labels: str) -> None:
        self._totals.add(metric.name, attempt.actor, self._node_name, attempt.queue, *more_labels)

    def _tell_quickly(self, event: str, attempt: Attempt) -> None:
        """Writes a line of an attempt that runs, which has nothing to say but its words and times."""
        if self._quick is None or not attempt.encoded_words or context.is_bound():
            self._tell(event, attempt)
        else:
            self._quick.say(event, attempt.encoded_words, _times(event, attempt))

    def _tell(self, event: str, attempt: Attempt, **more: object) -> None:
        quiet = attempt.actor in self._quiet_actors and event != "task.failed"
        log = self._log.debug if quiet else self._log.info
        more |= _times(event, attempt)
        if attempt is self._attempts.running():
            log(event, **more)  # the log context says the rest
        else:
            log(event, **attempt.words, **more)


def _times(event: str, attempt: Attempt) -> dict[str, float]:
    """How long an attempt has run, and how long it had waited for a worker."""
    began = attempt.started_at
    if began is None:
        return {}
    times, now = {}, time.perf_counter()
    if event != "task.started":
        times["duration_seconds"] = round(now - began, 6)
    if attempt.ready_at is not None:
        waited = time.time() - (now - began) - attempt.ready_at
        times["wait_seconds"] = round(max(0.0, waited), 6)  # clocks of two machines may disagree
    return times


class _Attached:
    """What this process listens with, if it does."""

    observer: TaskObserver | None = None
    totals: Totals | None = None


def attach(push: Push, *, node_name: str, quiet_actors: Collection[str] = (), flush_seconds: float = 1.0) -> None:
    """Starts listening in this process; whatever listened before is detached.

    `push` gets the counts, by encoded field (`totals.encode`), about every `flush_seconds`. `node_name` should be one
    of few: `api`, `beat`, `cli`; a worker's own node name replaces it.
    """
    detach()
    totals = Totals(push, flush_seconds)
    observer = TaskObserver(totals, node_name, quiet_actors)
    for signal, receiver in observer.receivers():
        signal.connect(receiver, weak=False)
    _Attached.observer, _Attached.totals = observer, totals


def detach() -> None:
    """Stops listening and hands on the last counts."""
    observer, totals = _Attached.observer, _Attached.totals
    _Attached.observer = _Attached.totals = None
    if observer is not None:
        for signal, receiver in observer.receivers():
            signal.disconnect(receiver)
    if totals is not None:
        totals.close()
