"""Which run the code is part of: a context variable, so that threads and tasks that a body starts inherit it.

Celery's own stacks (`task.request`, `current_task`) are keyed by it, and are right in each of many tasks that run at
the same time.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

from tasks.pool.celery_privates import get_ident

if TYPE_CHECKING:
    from tasks.pool.run import Run

current: ContextVar[Run | None] = ContextVar("celery_asyncio_run", default=None)


def ident() -> object:
    """What Celery's stacks are keyed by: the run, or outside of all runs what Celery takes."""
    return current.get() or get_ident()
