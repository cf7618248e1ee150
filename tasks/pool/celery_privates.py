"""Everything of Celery that this pool leans on and that Celery does not promise, in one place.

When Celery moves one of these, the tests of this module fail and say which; nothing else in the package touches a name
that Celery keeps for itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from billiard.exceptions import Terminated
from celery import Celery, Task
from celery._state import _task_stack  # type: ignore[attr-defined]  # the stubs leave it out
from celery.app.trace import build_tracer
from celery.concurrency.prefork import _run_ready_callbacks  # type: ignore[attr-defined]  # the stubs leave it out
from celery.utils.threads import get_ident

__all__ = ["Terminated", "get_ident"]


def key_stacks(tasks: Iterable[Task[Any, Any]], ident: Callable[[], object]) -> None:
    """Keys the stacks behind `current_task` and these tasks' `request` by `ident()`, instead of by the thread."""
    for stack in [_task_stack, *(task.request_stack for task in tasks)]:
        stack.__ident_func__ = ident


def body_attribute(task: Task[Any, Any]) -> str:
    """Where the function is kept that the user wrote: `autoretry_for` moves it aside and wraps it."""
    return "_orig_run" if hasattr(task, "_orig_run") else "run"


def retrace(app: Celery, task: Task[Any, Any], hostname: str | None = None) -> None:
    """Builds the task's tracer again: it has taken `task.run` over by value."""
    task.__trace__ = build_tracer(task.name, task, app.loader, hostname, app=app)


def decoded(args: tuple[Any, ...], accept_callback: Callable[..., object]) -> tuple[Any, ...]:
    """The tracer's arguments with the body that Celery's Request has decoded already, in place of the raw one.

    Decoding it twice, as prefork must, is a tenth of what a small task costs. Without a content type the tracer takes
    a body as it is.
    """
    payload = getattr(getattr(accept_callback, "__self__", None), "_payload", None)
    return args if payload is None else (*args[:3], payload, None, None)


def run_acks(hub: Any) -> None:
    """Runs the acks that wait for a hub that no longer turns, and leaves everything else where it is."""
    _run_ready_callbacks(hub)
