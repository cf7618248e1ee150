"""One execution: what Celery wants called and told, its limits, and how the pool ends it when it must.

    WAITING ──▶ ACCEPTED ──▶ BODY ──▶ LEFT ──▶ over
       │            │          ├── soft limit: raised where the body is
       │            │          └── hard limit, termination: the body is cancelled
       │            └── an end that comes now waits for the body, which then does not begin
       └── dropped: handed back as it came

Once the body is left its outcome is being written down, and stands: ends that come later are refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import functools
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from billiard.exceptions import SoftTimeLimitExceeded

from tasks.pool.limits import SoftLimit
from tasks.pool.losses import losses_in

if TYPE_CHECKING:
    from tasks.pool.threads import BodyThread

Callback = Callable[..., object]


class Place(enum.Enum):
    """Where a body runs."""

    LOOP = "loop"
    THREAD = "thread"
    PROCESS = "process"


class Phase(enum.Enum):
    """How far a run has come."""

    WAITING = "waiting"
    ACCEPTED = "accepted"
    BODY = "body"
    LEFT = "left"
    OVER = "over"


_STANDS = frozenset({Phase.LEFT, Phase.OVER})


class Fate(enum.Enum):
    """Why the pool ended a run."""

    HARD_LIMIT = "hard limit"
    TERMINATED = "terminated"
    DROPPED = "dropped"


class Ended(BaseException):
    """Stands for the outcome of a body that the pool has ended, so that Celery's tracer writes nothing down."""


_NO_LOCK: AbstractContextManager[Any] = contextlib.nullcontext()


class Run:
    """The handle that Celery keeps of one execution. Its id stands where prefork has a process id."""

    __slots__ = (
        "__weakref__",
        "accept_callback",
        "call",
        "callback",
        "error_callback",
        "fate",
        "hard_seconds",
        "id",
        "injected",
        "lock",
        "name",
        "phase",
        "place",
        "request",
        "signal",
        "soft_seconds",
        "task",
        "thread",
        "timeout_callback",
    )

    def __init__(
        self,
        id: int,
        target: Callable[..., Any],
        args: tuple[Any, ...],
        *,
        callback: Callback,
        accept_callback: Callback,
        error_callback: Callback,
        timeout_callback: Callback,
        soft_seconds: float | None,
        hard_seconds: float | None,
    ) -> None:
        self.id = id
        self.name: str = args[0]
        self.request: dict[str, Any] = args[2]
        self.call = functools.partial(target, *args)
        self.callback, self.accept_callback = callback, accept_callback
        self.error_callback, self.timeout_callback = error_callback, timeout_callback
        self.soft_seconds, self.hard_seconds = soft_seconds, hard_seconds
        self.place = Place.LOOP
        self.phase = Phase.WAITING
        self.fate: Fate | None = None
        self.signal: int | None = None
        self.task: asyncio.Task[None] | None = None
        self.thread: BodyThread | None = None
        self.lock = _NO_LOCK  # a thread that gets the run brings a real one
        self.injected: BaseException | None = None

    @property
    def delivery_tag(self) -> str | None:
        """The broker's name for the message."""
        tag: str | None = (self.request.get("properties") or {}).get("delivery_tag")
        return tag

    @property
    def losses(self) -> int:
        """How often a process died that held this message, as the transport has counted."""
        return losses_in(self.request)

    @property
    def is_accepted(self) -> bool:
        """Whether Celery has been told that it runs."""
        return self.phase is not Phase.WAITING

    def fail_with(self, error: Exception) -> None:
        """Makes it a run on the loop that fails with this error. For what has not begun."""
        self.place, self.soft_seconds, self.hard_seconds = Place.LOOP, None, None
        self.call = functools.partial(_raise, error)

    def enter_body(self) -> None:
        """From here on the run can be interrupted. Raises Ended when its end came first."""
        with self.lock:
            if self.fate is None:
                self.phase = Phase.BODY
                return
        raise Ended(self.fate.value)

    def leave_body(self) -> None:
        """From here on the outcome stands. Raises Ended when the pool has ended the run."""
        if self.thread is not None:
            self.thread.leave_body(self)
        else:
            self.phase = Phase.LEFT
        if self.fate is not None:
            raise Ended(self.fate.value)

    def end(self, fate: Fate) -> bool:
        """Ends the run if it can still be ended, and says so. Called on the loop's thread."""
        with self.lock:
            if self.fate is not None or self.phase in _STANDS:
                return False
            self.fate = fate
            if self.thread is not None:
                self.thread.interrupt(self, Ended)
            elif self.phase is Phase.BODY or self.place is not Place.LOOP:
                self._cancel(None)
            return True

    def abandon(self) -> None:
        """Cancels a body again that has not ended, or stops waiting for its thread. Called on the loop's thread."""
        self._cancel(None)

    def exceed_soft_limit(self) -> bool:
        """Raises Celery's SoftTimeLimitExceeded where the body is. Called on the loop's thread."""
        with self.lock:
            if self.fate is not None or self.phase is not Phase.BODY:
                return False
            if self.thread is not None:
                self.thread.interrupt(self, SoftTimeLimitExceeded)
            elif self.place is Place.LOOP:
                self._cancel(SoftLimit(self.soft_seconds))
            return True

    def instead_of(self, cancelled: asyncio.CancelledError) -> BaseException:
        """What to raise in the body for a cancellation of its task: the soft limit when that is what it stands for."""
        if self.injected is None:
            return cancelled
        assert self.task is not None
        error, self.injected = self.injected, None
        self.task.uncancel()
        return error

    def _cancel(self, injected: BaseException | None) -> None:
        if self.task is not None:  # none: it is about to begin on the loop, and will find its fate
            self.injected = injected
            self.task.cancel()

    def terminate(self, signal: int | None = None) -> None:
        """Celery calls this beside the pool's `terminate_job`, which has done it."""


def _raise(error: Exception) -> None:
    raise error
