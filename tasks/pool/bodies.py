"""Decides where each task's body runs, and wraps the bodies so that the pool knows when one is running.

A task says where with the attribute `runs_in` ("loop", "thread", "process"). Without it, `async def` bodies run on the
loop and plain ones in a thread. No decorator is needed: `@app.task async def f(...)` works, with `bind`, with
`autoretry_for`, in eager calls, and in processes and threads, where a coroutine gets a loop of its own.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Coroutine
from typing import Any

from celery import Celery, Task
from celery._state import get_current_app
from celery.app.task import Context
from celery.exceptions import ImproperlyConfigured

from tasks.pool import scope
from tasks.pool.celery_privates import body_attribute, key_stacks, retrace
from tasks.pool.run import Phase, Place
from tasks.pool.tracing import await_, in_trace

Body = Callable[..., Any]
ADAPTED = "_tasks_pool_body"


class BodyCancelled(Exception):
    """The body raised CancelledError, and it was not the pool that had cancelled it."""


def place_of(task: Task[Any, Any]) -> Place:
    """Where the task's body runs. Raises ImproperlyConfigured for a `runs_in` that means nothing."""
    declared = getattr(task, "runs_in", None)
    if declared is not None:
        try:
            return Place(declared)
        except ValueError:
            places = ", ".join(repr(place.value) for place in Place)
            raise ImproperlyConfigured(f"task {task.name}: runs_in={declared!r} is none of {places}") from None
    return Place.LOOP if _is_coroutine_function(_written(task)) else Place.THREAD


def adapt_all(app: Celery) -> None:
    """Adapts every task that the application knows now. Raises ImproperlyConfigured, see `place_of`."""
    for task in app.tasks.values():
        place_of(task)
    key_stacks(app.tasks.values(), scope.ident)
    for task in app.tasks.values():
        adapt(task)


def adapt_late(app: Celery, task: Task[Any, Any]) -> None:
    """Adapts a task that came to be after the pool was started, and whose tracer has been built."""
    if not hasattr(getattr(task, body_attribute(task)), ADAPTED):
        key_stacks([task], scope.ident)
        adapt(task)
        retrace(app, task)


def call_in_child(target: Callable[..., Any], name: str, *args: Any) -> Any:
    """Runs Celery's tracer in a child process, where no pool has adapted the task."""
    app = get_current_app()
    adapt_late(app, app.tasks[name])
    return target(name, *args)


def adapt(task: Task[Any, Any]) -> None:
    """Wraps the task's body; once is enough, and again does nothing."""
    name = body_attribute(task)
    body = getattr(task, name)
    if not hasattr(body, ADAPTED):
        setattr(task, name, _adapted(task, body))


def _adapted(task: Task[Any, Any], body: Body) -> Body:
    @functools.wraps(body)
    def run(*args: Any, **kwargs: Any) -> Any:
        current = scope.current.get()
        if current is None or current.phase is not Phase.ACCEPTED:
            in_body = current is not None and current.phase is Phase.BODY
            return _nested(task.request, body(*args, **kwargs), in_body=in_body)
        current.enter_body()
        try:
            result = body(*args, **kwargs)
            return _awaited(result) if isinstance(result, Coroutine) else result
        except asyncio.CancelledError as error:
            if current.fate is None and not isinstance(error, Exception):
                raise BodyCancelled(*error.args) from error
            raise
        finally:
            current.leave_body()

    setattr(run, ADAPTED, body)
    return run


def _nested(request: Context, result: Any, *, in_body: bool) -> Any:
    """The result of a body that the pool has not called: another body has, or Celery's tracer in a child process.

    A body that calls a task as a function gets the coroutine it expects; a tracer gets what comes of it.
    """
    is_traced = request.is_eager if in_body else not request.called_directly
    return _awaited(result) if is_traced and isinstance(result, Coroutine) else result


def _awaited(coroutine: Coroutine[Any, Any, Any]) -> Any:
    return await_(coroutine) if in_trace() else asyncio.run(coroutine)


def _written(task: Task[Any, Any]) -> Body:
    body = getattr(task, body_attribute(task))
    written: Body = getattr(body, ADAPTED, body)
    return written


def _is_coroutine_function(body: Body) -> bool:
    return inspect.iscoroutinefunction(body) or inspect.iscoroutinefunction(inspect.unwrap(body))
