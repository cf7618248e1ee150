"""Fails when Celery changes what the pool leans on and Celery does not promise."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from celery import Celery, Task, _state
from celery.app import trace
from celery.app.autoretry import add_autoretry_behaviour
from celery.concurrency import prefork
from celery.concurrency.base import BasePool
from celery.utils import threads
from celery.worker import request
from celery.worker.components import Pool
from kombu.utils.objects import cached_property

from tasks.pool import celery_privates, scope


def body() -> str:
    """What a user wrote."""
    return "body"


@pytest.fixture
def app() -> Celery:
    """An application that nobody starts."""
    return Celery("privates", set_as_current=False, broker="memory://")


def test_the_stacks_of_tasks_and_requests_take_a_key(app: Celery) -> None:
    task: Any = app.task(name="t")(body)
    stack: Any = _state.__dict__["_task_stack"]
    assert type(stack) is threads.LocalStack
    assert isinstance(task.request_stack, threads.LocalStack)
    before, key = stack.__ident_func__, object()
    try:
        celery_privates.key_stacks([task], lambda: key)
        stack.push("pushed")
        assert list(vars(stack)["_local"].__storage__) == [key]
        assert stack.pop() == "pushed"
        assert not vars(stack)["_local"].__storage__
    finally:
        celery_privates.key_stacks([task], before)


def test_outside_of_runs_the_key_is_celerys() -> None:
    assert scope.ident() == threads.get_ident()


def test_autoretry_moves_the_body_aside(app: Celery) -> None:
    task = app.task(name="t", autoretry_for=(OSError,))(body)
    assert celery_privates.body_attribute(task) == "_orig_run"
    assert getattr(task, "_orig_run") is body  # noqa: B009 - mypy does not know it
    assert "task._orig_run(*args, **kwargs)" in inspect.getsource(add_autoretry_behaviour)
    assert celery_privates.body_attribute(app.task(name="u")(body)) == "run"


def test_a_tracer_keeps_the_body_it_was_built_with(app: Celery) -> None:
    task: Any = app.task(name="t", ignore_result=True)(body)
    celery_privates.retrace(app, task)
    task.run = lambda: "new"
    assert task.__trace__("id", (), {}, {}).retval == "body"
    celery_privates.retrace(app, task)
    assert task.__trace__("id", (), {}, {}).retval == "new"


def test_a_request_has_decoded_its_body_and_the_tracer_takes_it_so() -> None:
    assert isinstance(inspect.getattr_static(request.Request, "_payload"), cached_property)
    for tracer in (trace.fast_trace_task, trace.trace_task_ret):
        assert "args, kwargs, embed = body" in inspect.getsource(tracer)
    applying = inspect.getsource(vars(request)["create_request_cls"])
    assert "args=(self.type, task_id, self.request_dict, self.body," in applying
    assert "accept_callback=self.on_accepted" in applying


def test_acks_wait_in_the_hub_and_prefork_knows_them() -> None:
    assert list(inspect.signature(prefork._run_ready_callbacks).parameters) == ["hub"]  # type: ignore[attr-defined]


def test_the_pool_is_told_of_the_semaphore_and_whether_there_is_a_hub() -> None:
    creating = inspect.getsource(Pool.create)
    assert "semaphore=semaphore" in creating
    assert "threads=threaded" in creating
    assert "initargs=(w.app, w.hostname)" in creating
    assert BasePool.__init__(pool := BasePool.__new__(BasePool), 1, threads=True) is None  # type: ignore[func-returns-value]
    assert pool.options == {"threads": True}


def test_a_terminated_run_is_told_by_its_error() -> None:
    assert issubclass(celery_privates.Terminated, Exception)
    assert "isinstance(exc, Terminated)" in inspect.getsource(request.Request.on_failure)


def test_tasks_are_bound_before_they_run() -> None:
    assert isinstance(Task.__dict__["request"], property)
