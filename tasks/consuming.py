"""Whether a worker takes messages. Its process and its threads can live on when it no longer does."""

from __future__ import annotations

from typing import Any

from celery.bootsteps import RUN  # type: ignore[attr-defined]  # the stubs leave it out

from tasks.pool.stopping import is_asked_for
from tasks.transport import life

STUCK_SECONDS = 30.0
"""A loop that has not turned for so long is not about to take a message."""


def is_consuming(worker: Any) -> bool:
    """Whether Celery's WorkController runs: nobody stopped it, it did not break down, and its loops turn."""
    return bool(worker.blueprint.state == RUN and not is_asked_for() and life.overdue(STUCK_SECONDS) is None)
