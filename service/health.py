"""Whether the parts are there: asked of the real ones, all at once, with a short deadline.

`/livez` says that this process answers; `/readyz` that it can accept and serve uploads, which needs the catalog and the
store but neither broker nor workers; `/health` names every part.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, Literal

import msgspec
from litestar import Request, Response, Router, get
from litestar.datastructures import State as AppState

from tasks.errors import MoorageError
from tasks.heartbeat import is_alive, read_signs
from tasks.parts import Parts
from tasks.queues import QUEUES

DEADLINE_SECONDS = 1.0

AnyRequest = Request[Any, Any, AppState]
Part = Literal["connected", "unreachable"]


class Health(msgspec.Struct, frozen=True):
    """Each part, and all of them: `degraded` comes with 503. `celery` means a live worker on every queue."""

    status: Literal["healthy", "degraded"]
    database: Part
    redis: Part
    celery: Part
    store: Part


class Alive(msgspec.Struct, frozen=True):
    """This process answers."""

    status: Literal["alive"] = "alive"


class Readiness(msgspec.Struct, frozen=True):
    """Whether uploads can be accepted; `unready` comes with 503."""

    status: Literal["ready", "unready"]
    database: Part
    store: Part


@get("/livez", sync_to_thread=False, summary="Is this process alive?")
def livez() -> Alive:
    """Asks nothing of anything else."""
    return Alive()


@get("/readyz", summary="Can uploads be accepted?")
async def readyz(request: AnyRequest) -> Response[Readiness]:
    """503 when the catalog or the store does not answer."""
    parts: Parts = request.app.state.parts
    database, store = await asyncio.gather(_ask(parts.catalog.check()), _ask(parts.store.check()))
    ready = database == store == "connected"
    return Response(Readiness("ready" if ready else "unready", database, store), status_code=200 if ready else 503)


@get("/health", summary="Are all parts there?")
async def health(request: AnyRequest) -> Response[Health]:
    """503 when any part does not answer."""
    parts: Parts = request.app.state.parts
    answers = await asyncio.gather(
        _ask(parts.catalog.check()),
        _ask(parts.redis.ping()),
        _ask(_every_queue_is_served(parts)),
        _ask(parts.store.check()),
    )
    healthy = set(answers) == {"connected"}
    return Response(Health("healthy" if healthy else "degraded", *answers), status_code=200 if healthy else 503)


def router() -> Router:
    """The probes, open to anyone."""
    return Router("/", route_handlers=[livez, readyz, health], tags=["Probes"])


class QueueUnserved(MoorageError):
    """A queue that no live worker consumes."""

    def __init__(self, queue: str) -> None:
        self.queue = queue
        super().__init__(f"nobody consumes {queue}")


async def _every_queue_is_served(parts: Parts) -> None:
    now = parts.clock.now()
    served = {queue for sign in await read_signs(parts.redis, now) if is_alive(sign, now) for queue in sign.queues}
    for queue in QUEUES:
        if queue not in served:
            raise QueueUnserved(queue)


async def _ask(question: Awaitable[Any]) -> Part:
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            await question
    except Exception:  # whatever is wrong with a part, it is not there to use
        return "unreachable"
    return "connected"
