"""The pool's own settings. They stand in Celery's configuration, beside Celery's."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass

from celery import Celery
from celery.exceptions import ImproperlyConfigured

DEFAULT_CONCURRENCY = 100


@dataclass(frozen=True, kw_only=True)
class PoolSettings:
    """What `app.conf` says about the pool."""

    threads: int
    """`asyncio_pool_threads` (8): how many plain `def` bodies run at a time."""
    processes: int
    """`asyncio_pool_processes` (the number of cores): how many bodies of `runs_in="process"` run at a time."""
    lone_processes: int
    """`asyncio_pool_lone_processes` (4): how many suspects run at a time, each in a process of its own."""
    application: str
    """`asyncio_pool_application` (a module that has it): what child processes import, as `celery -A` spells it."""
    cancel_seconds: float
    """`asyncio_pool_cancel_seconds` (10): how long a cancelled body may take to clean up, before it is cancelled again
    and then no longer waited for."""
    max_tasks_per_child: int | None
    """`worker_max_tasks_per_child`"""
    max_memory_kib: int | None
    """`worker_max_memory_per_child`: as the one above for child processes and, see `recycling.py`, for the worker."""
    recycle_grace_seconds: float
    """`asyncio_pool_recycle_grace_seconds` (300): how long what runs may go on when the worker recycles itself."""

    @classmethod
    def read(cls, app: Celery) -> PoolSettings:
        """The settings, with defaults for what is not there. Raises ImproperlyConfigured for what has none."""
        conf = app.conf
        return cls(
            threads=conf.get("asyncio_pool_threads") or 8,
            processes=conf.get("asyncio_pool_processes") or os.cpu_count() or 1,
            lone_processes=conf.get("asyncio_pool_lone_processes") or 4,
            application=conf.get("asyncio_pool_application") or _where(app),
            cancel_seconds=conf.get("asyncio_pool_cancel_seconds") or 10.0,
            max_tasks_per_child=conf.get("worker_max_tasks_per_child"),
            max_memory_kib=conf.get("worker_max_memory_per_child"),
            recycle_grace_seconds=conf.get("asyncio_pool_recycle_grace_seconds") or 300.0,
        )


def _where(app: Celery) -> str:
    """A module and its attribute that are this application, best the one it is named after."""
    modules = {app.main: sys.modules.get(app.main or "")} | sys.modules
    for name, module in modules.items():
        if not name or name == "__main__" or name.startswith("celery."):  # Celery's own have it as the current one
            continue
        for attribute, value in tuple(vars(module or object).items()):
            if value is app:
                return f"{name}:{attribute}"
    raise ImproperlyConfigured(
        "child processes must be able to import the application, and no module has it: name it, as in "
        'app.conf.asyncio_pool_application = "package.module:app"'
    )
