"""What is remembered of each attempt at a task, so that its outcome can be told with its queue, its context and times.

Celery tells of some outcomes (a hard time limit, a rejected message) from another thread or process than the one that
runs the body, and without the message: what was noted when the message came in fills the gap.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec

from observability.context import CONTEXT_HEADER, ENQUEUED_HEADER, select

MAX_REMEMBERED = 10_000
"""Attempts remembered; more than any one process has in hand. The oldest are forgotten first."""

UNKNOWN = "unknown"


class Attempt(msgspec.Struct):
    """One attempt at one task. `number` counts from 1. What comes with its start is filled in then."""

    task_id: str
    actor: str
    queue: str = UNKNOWN
    number: int = 1
    ready_at: float | None = None
    """Epoch seconds when a worker could have started it: when it was sent, or its ETA."""
    context: dict[str, str] = {}
    started_at: float | None = None
    """On the monotonic clock."""
    encoded_words: str = ""
    """Its words as they stand in each of its lines, once it runs here."""

    @classmethod
    def of(cls, task_id: str, actor: str, message: Mapping[str, Any]) -> Attempt:
        """Reads a message's headers as Celery gives them to the request; any of them may be missing."""
        delivery = message.get("delivery_info") or {}
        ready_at = message.get(ENQUEUED_HEADER)
        if not isinstance(ready_at, int | float):
            ready_at = None
        if eta := message.get("eta"):
            ready_at = max(_epoch_seconds(eta) or 0.0, ready_at or 0.0) or None
        return cls(
            task_id=task_id,
            actor=actor,
            queue=delivery.get("routing_key") or UNKNOWN,
            number=number_of(message),
            ready_at=ready_at,
            context=select(message.get(CONTEXT_HEADER)),
        )

    @property
    def words(self) -> dict[str, object]:
        """What every log line about this attempt says."""
        return {**self.context, "task_id": self.task_id, "actor": self.actor, "attempt": self.number}


def number_of(message: Mapping[str, Any]) -> int:
    """Which attempt a message asks for, from 1."""
    return int(message.get("retries") or 0) + 1


class Attempts:
    """The attempts seen lately. May be used from any thread."""

    def __init__(self, limit: int = MAX_REMEMBERED) -> None:
        self._limit = limit
        self._latest: OrderedDict[str, Attempt] = OrderedDict()
        self._failed: OrderedDict[tuple[str, int], None] = OrderedDict()
        self._running: ContextVar[Attempt | None] = ContextVar("moorage_running_attempt", default=None)

    def remember(self, attempt: Attempt) -> None:
        """Notes an attempt; when it is noted again, what is said then holds."""
        _put(self._latest, attempt.task_id, attempt, self._limit)

    def start(self, task_id: str, actor: str, message: Mapping[str, Any], started_at: float) -> Attempt:
        """Notes that the attempt a message asks for begins, in this thread or context.

        A prefork child has not seen the message come in.
        """
        attempt = self._known(task_id, number_of(message))
        if attempt is None:
            attempt = Attempt.of(task_id, actor, message)
            self.remember(attempt)
        attempt.started_at = started_at
        self._running.set(attempt)
        return attempt

    def finish(self) -> None:
        """What was begun in this thread or context is over."""
        self._running.set(None)

    def running(self) -> Attempt | None:
        """What was begun last in this thread or context, if it is not over."""
        return self._running.get()

    def find(self, task_id: str, number: int) -> Attempt | None:
        """An attempt, unless it was never seen here, or long ago.

        The number matters: a retry may be received, here, before the attempt it follows has told its own end.
        """
        attempt = self._running.get()
        if attempt is not None and attempt.task_id == task_id and attempt.number == number:
            return attempt
        return self._known(task_id, number)

    def latest(self, task_id: str) -> Attempt | None:
        """The attempt at a task that was noted last."""
        return self._latest.get(task_id)

    def fails_first(self, attempt: Attempt) -> bool:
        """True the first time an attempt is said to have failed: prefork says so twice after a hard time limit."""
        key = (attempt.task_id, attempt.number)
        if key in self._failed:
            return False
        _put(self._failed, key, None, self._limit)
        return True

    def _known(self, task_id: str, number: int) -> Attempt | None:
        attempt = self._latest.get(task_id)
        return attempt if attempt is not None and attempt.number == number else None


K = TypeVar("K")
V = TypeVar("V")


def _put(memory: OrderedDict[K, V], key: K, value: V, limit: int) -> None:
    memory[key] = value
    memory.move_to_end(key)
    if len(memory) > limit:
        memory.popitem(last=False)


def _epoch_seconds(eta: object) -> float | None:
    """A message's ETA, which Celery writes in ISO 8601, in UTC when it names no zone."""
    if not isinstance(eta, str):
        return None
    try:
        moment = datetime.fromisoformat(eta)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
