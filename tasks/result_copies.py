"""Celery's copy of an actor's result: written in one round trip with the task's record where both are on one server.

Only a plain success takes this way. Whatever else Celery would store (a failure, a success that other tasks follow, one
that is there already, one too large to travel in company) it stores itself, after the record.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from tasks.pool import in_trace

if TYPE_CHECKING:
    from tasks.settings import TaskSettings

MOST_BYTES = 1 << 20
"""A larger result goes alone, so that no other has to wait for it or fails with it."""

_MARK = "_moorage_result_stored"
_STORED = object()
"""What marks a request: no message can carry it."""


class Stored(msgspec.Struct, frozen=True):
    """One result as it goes to Redis."""

    key: str
    body: str | bytes
    expires_seconds: int


class ResultCopy:
    """The copy of one task's result."""

    def __init__(self, prepare: Callable[[str, Any, Any], Stored], request: Any) -> None:
        self._prepare, self._request = prepare, request

    @classmethod
    def of_task(cls, task: Any, request: Any) -> ResultCopy | None:
        """For a task that runs in the pool's loop. None where nothing can be gained, or there is to be no copy."""
        prepare = getattr(task.backend, "prepared", None) if in_trace() and not task.ignore_result else None
        return None if prepare is None else cls(prepare, request)

    def of(self, result: Any, settings: TaskSettings) -> Stored | None:
        """How Celery would store this success; None where it has to do so itself."""
        if (settings.result_backend_url or settings.redis_url) != settings.redis_url:
            return None
        request = self._request
        if request.callbacks or request.chain or request.ignore_result:  # what follows is noted in the copy
            return None
        stored = self._prepare(request.id, result, request)
        is_plain = isinstance(stored.body, str)  # and not compressed: the script takes text alone
        return stored if is_plain and len(stored.body) <= MOST_BYTES else None

    def mark_stored(self) -> None:
        """It is there: Celery need not store it."""
        setattr(self._request, _MARK, _STORED)


def is_stored(request: Any) -> bool:
    """Whether the request's result has been stored with its record."""
    return getattr(request, _MARK, None) is _STORED
