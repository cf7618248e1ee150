"""Declares actors: functions that run in a worker, with their options checked when the program starts.

    @actor(queue=UPLOAD, durable=True)
    async def ingest(job: Job, profile: str) -> Ingested: ...

A durable actor's tasks are rows of the catalog and survive everything; another's live in Redis. An actor is a Celery
task underneath, with its results, signals and remote control.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from billiard.common import human_status
from celery import Task
from celery.worker import state

from tasks import bridge, poison
from tasks.app import app
from tasks.clock import SystemClock
from tasks.errors import InvalidArguments, WorkerKilled
from tasks.job import Job
from tasks.ledger import describe
from tasks.queues import QUEUES
from tasks.result_copies import ResultCopy
from tasks.retries import RetryPolicy
from tasks.runner import Delivery, perform

Body = Callable[..., Awaitable[Any]]


class Actor:
    """A declared actor: its options, and the check of its arguments."""

    def __init__(self, body: Body, *, queue: str, durable: bool, retries: RetryPolicy, keep_result: bool) -> None:
        if queue not in QUEUES:
            raise ValueError(f"actor {body.__name__}: no queue {queue!r}; there are {', '.join(QUEUES)}")
        self.name, self.queue, self.durable, self.retries = body.__name__, queue, durable, retries
        self.body = body
        self.keep_result = keep_result
        self._shape = _arguments_shape(body)

    def check(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """The arguments as the body's annotations say. Raises InvalidArguments."""
        try:
            return msgspec.structs.asdict(msgspec.convert(arguments, self._shape))
        except msgspec.ValidationError as error:
            raise InvalidArguments(self.name, str(error)) from error


class ActorTask(Task[Any, Any]):
    """What Celery has of an actor."""

    abstract = True
    Request = "tasks.requests:ActorRequest"
    runs_in = "loop"
    """It awaits through the bridge, which never holds up the pool's loop."""
    result_is_a_copy = True
    """Its outcome is in its record and in the catalog: a result that cannot be stored makes no failure of it."""

    def on_killed_alone(self, headers: dict[str, Any], exit_code: int) -> None:
        """The pool calls this when the task has ended the process in which it ran alone. Writes the dead letter."""
        actor, delivery = ACTORS[self.name], Delivery.of(headers)
        if not actor.keep_result:
            return
        held = state.requests.get(delivery.task_id)
        arguments = {} if held is None else dict(held.kwargs)
        killed = WorkerKilled(delivery.losses + 1, human_status(exit_code))
        sent = delivery.record(actor, SystemClock().now())
        bridge.run(lambda parts: poison.bury(parts, sent, arguments, delivery.context, describe(killed)))


ACTORS: dict[str, Actor] = {}
"""Every actor by name, once the modules that declare them are imported."""


def actor(
    *,
    queue: str,
    durable: bool = False,
    max_retries: int = 3,
    min_backoff_seconds: float = 1.0,
    max_backoff_seconds: float = 60.0,
    never_retry: tuple[type[Exception], ...] = (),
    keep_result: bool = True,
) -> Callable[[Body], Actor]:
    """Makes an async function an actor.

    `keep_result=False` is for the schedule's jobs: nobody asks for their outcome, so no record or result is kept.
    Raises ValueError at import for an unknown queue or a name that is taken, TypeError for an unannotated argument.
    """
    retries = RetryPolicy(
        max_retries=max_retries,
        min_backoff_seconds=min_backoff_seconds,
        max_backoff_seconds=max_backoff_seconds,
        never_retry=(InvalidArguments, *never_retry),
    )

    def declare(body: Body) -> Actor:
        declared = Actor(body, queue=queue, durable=durable, retries=retries, keep_result=keep_result)
        if declared.name in ACTORS:
            raise ValueError(f"actor {declared.name}: declared twice")
        ACTORS[declared.name] = declared

        def run(task: Task[..., Any], /, **arguments: Any) -> Any:
            request = task.request
            delivery = Delivery.of(vars(request))
            copy = ResultCopy.of_task(task, request)
            return bridge.run(lambda parts: perform(parts, declared, delivery, arguments, copy))

        run.__name__, run.__doc__ = declared.name, body.__doc__
        celery_s = app.task(
            name=declared.name, base=ActorTask, bind=True, shared=False, typing=False, ignore_result=not keep_result
        )
        celery_s(run)
        return declared

    return declare


def _arguments_shape(body: Body) -> type[msgspec.Struct]:
    hints = typing.get_type_hints(body, include_extras=True)
    fields: list[Any] = []
    for parameter in inspect.signature(body).parameters.values():
        if hints.get(parameter.name) is Job:
            continue
        if parameter.name not in hints:
            raise TypeError(f"actor {body.__name__}: argument {parameter.name} has no type")
        field = (parameter.name, hints[parameter.name])
        fields.append(field if parameter.default is parameter.empty else (*field, parameter.default))
    return msgspec.defstruct(f"{body.__name__}_arguments", fields, forbid_unknown_fields=True, kw_only=True)
