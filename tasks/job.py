"""The handle an actor's body works with: who it works for, how to report progress, what to commit with its success."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import structlog

from tasks.catalog.engine import Transaction

if TYPE_CHECKING:
    from tasks.parts import Parts

Effect = Callable[[Transaction], Awaitable[None]]

_log = structlog.get_logger("moorage.job")


class Job:
    """One run of one task."""

    def __init__(self, parts: Parts, *, task_id: str, owner: str, attempt: int) -> None:
        self.parts, self.task_id, self.owner, self.attempt = parts, task_id, owner, attempt
        self.log = _log
        self.percent = 0.0
        self.message = ""
        self.reports = 0
        self.effects: list[Effect] = []

    def progress(self, percent: float, message: str | None = None) -> None:
        """Reports how far the work is, 0–100. Cheap, callable from any thread; it is published a few times a second."""
        self.percent = min(100.0, max(0.0, percent))
        if message is not None:
            self.message = message
        self.reports += 1

    def with_success(self, effect: Effect) -> None:
        """Has `effect` write to the catalog in the very commit that records SUCCESS, or not at all."""
        self.effects.append(effect)
