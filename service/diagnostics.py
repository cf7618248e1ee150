"""Diagnostics: tasks anyone can start to see that the queue works, takes its time, or fails as it should."""

from __future__ import annotations

import math
import uuid
from typing import Annotated, Any

from litestar import Request, Response, Router, post
from litestar.datastructures import State as AppState
from litestar.params import FromQuery, QueryParameter
from structlog.contextvars import get_contextvars

from service.auth import needs, principal_of
from service.schemas import Submitted
from tasks.actor import Actor
from tasks.errors import InvalidArguments
from tasks.jobs import diagnostics
from tasks.parts import Parts
from tasks.records import Record

AnyRequest = Request[Any, Any, AppState]


@post("/add", status_code=202, summary="A task that adds two numbers")
async def add(request: AnyRequest, x: FromQuery[float], y: FromQuery[float]) -> Response[Submitted]:
    """Its result is the sum."""
    return await _submit(request, diagnostics.add, {"x": x, "y": y}, "adding two numbers")


@post("/sleep", status_code=202, summary="A task that waits")
async def sleep(request: AnyRequest, seconds: FromQuery[float] = 1.0) -> Response[Submitted]:
    """Its result is the time waited."""
    return await _submit(request, diagnostics.sleep, {"seconds": seconds}, "sleeping")


@post("/long", status_code=202, summary="A task with five stages")
async def long(request: AnyRequest) -> Response[Submitted]:
    """It takes ten seconds and reports 20, 40, 60, 80 and 100."""
    return await _submit(request, diagnostics.long, {}, "going through five stages")


@post("/fail", status_code=202, summary="A task that fails")
async def fail(request: AnyRequest, times: Annotated[int | None, QueryParameter(ge=0)] = None) -> Response[Submitted]:
    """It raises `times` times, or for ever; three retries, one second apart, are made."""
    return await _submit(request, diagnostics.fail, {"times": times}, "failing")


@post("/", status_code=202, summary="A task that says a message")
async def echo(request: AnyRequest, message: FromQuery[str] = "hello") -> Response[Submitted]:
    """Its result is the message."""
    return await _submit(request, diagnostics.echo, {"message": message}, "saying a message")


def router(path: str) -> Router:
    """The diagnostic routes below `path`."""
    return Router(
        path, route_handlers=[echo, add, sleep, long, fail], before_request=needs("upload"), tags=["Diagnostics"]
    )


async def _submit(request: AnyRequest, actor: Actor, arguments: dict[str, Any], message: str) -> Response[Submitted]:
    for name, value in arguments.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise InvalidArguments(actor.name, f"`{name}` must be a finite number")  # JSON has no word for another
    parts: Parts = request.app.state.parts
    record = Record(
        task_id=str(uuid.uuid4()),
        owner=principal_of(request).owner,
        actor=actor.name,
        queue=actor.queue,
        durable=False,
        created_at=parts.clock.now(),
    )
    context = {"request_id": str(get_contextvars().get("request_id", ""))}
    await parts.dispatcher.send(record, actor.check(arguments), context)
    location = {"Location": f"/api/v1/tasks/{record.task_id}"}
    return Response(Submitted(record.task_id, message), status_code=202, headers=location)
