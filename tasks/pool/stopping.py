"""Waits, on Celery's thread, for the pool's end: the hub turns no more, so the reports are answered here.

Celery also calls this inside its signal handlers, and once more inside the wait that a second signal interrupts: there
is nothing in here that a thread could hold while it waits for itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celery.worker import state

from tasks.pool.bell import Reports
from tasks.pool.celery_privates import run_acks

LOOK_SECONDS = 1.0
"""How often to look even when the bell is silent: a signal handler may have answered it."""


def is_asked_for() -> bool:
    """Whether somebody has told Celery's worker to stop. Without that it ends because it has broken down."""
    asked: tuple[Any, ...] = (state.should_stop, state.should_terminate)
    return any(exit_code is not None and exit_code is not False for exit_code in asked)


def wait_until(is_over: Callable[[], bool], reports: Reports, hub: Any) -> None:
    """Answers reports, and has the acks they bring written, until `is_over()`."""
    reports.answer()
    while not is_over():
        reports.bell.wait(LOOK_SECONDS)
        reports.answer()
        if hub is not None:
            run_acks(hub)
