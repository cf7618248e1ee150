"""Wires the API together: settings, parts, routes, the error table, metrics and request ids."""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import sys
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

from litestar import Litestar, Request, Response, get
from litestar.datastructures import State as AppState
from litestar.exceptions import HTTPException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import SwaggerRenderPlugin
from litestar.openapi.spec import Components, Reference, SecurityScheme, Tag
from litestar.types import ASGIApp

from observability.exposition import ClusterSnapshot, render
from observability.http_middleware import HttpMiddleware
from observability.metrics import LocalMetrics
from observability.signals import attach, detach
from service import diagnostics, errors, gateway, health, task_status, uploads
from service.auth import Doorkeeper
from service.docs_page import DocsPage
from service.settings import ServiceSettings
from tasks.actor import ACTORS
from tasks.app import configure
from tasks.catalog import migrate
from tasks.errors import MoorageError, RecordsUnavailable
from tasks.heartbeat import ALIVE_SECONDS, FORGOTTEN_SECONDS, read_signs
from tasks.parts import Parts
from tasks.queues import QUEUES
from tasks.record_cache import RecordCache
from tasks.settings import TaskSettings
from tasks.totals import TotalsStore, read_totals

VERSION = importlib.metadata.version("moorage")
FILE_THREADS = 32
FILE_THREADS_NICENESS = 10
"""Threads for file work: an fsync can hold one for seconds while other uploads want to write."""

KEY_SCHEMES: dict[str, SecurityScheme | Reference] = {
    "key": SecurityScheme(type="apiKey", name="X-API-Key", security_scheme_in="header"),
    "bearer": SecurityScheme(type="http", scheme="bearer"),
}


def _step_back() -> None:
    """Lets the event loop's thread go first where cores are scarce; on Linux a thread has a priority of its own."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), FILE_THREADS_NICENESS)


def create_app(settings: ServiceSettings, task_settings: TaskSettings) -> ASGIApp:
    """The ASGI application. Nothing is opened before its lifespan starts."""
    metrics = LocalMetrics(VERSION)
    slots = uploads.Slots(settings.max_concurrent_uploads)
    state = AppState({"settings": settings, "metrics": metrics, "slots": slots})
    configure(task_settings).loader.import_default_modules()  # so that every actor is known by name

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(FILE_THREADS, "moorage-files", _step_back))
        parts = await Parts.open(task_settings)
        totals = TotalsStore.connect(task_settings.redis_url)
        attach(totals.add, node_name="api")
        try:
            await migrate.upgrade(parts.catalog)
            records = RecordCache(parts.redis, parts.records)
            doorkeeper = Doorkeeper(parts.catalog, parts.clock)
            app.state.update({"parts": parts, "records": records, "doorkeeper": doorkeeper})
            yield
            await records.close()
        finally:
            detach()
            totals.close()
            await parts.close()

    app = Litestar(
        route_handlers=[
            uploads.router("/api/v1/uploads"),
            diagnostics.router("/api/v1/tasks/test"),
            diagnostics.router("/tasks/test"),
            task_status.router("/api/v1/tasks"),
            task_status.router("/tasks"),
            gateway.router("/ipfs"),
            health.router(),
            metrics_page,
        ],
        state=state,
        lifespan=[lifespan],
        exception_handlers={
            errors.Refused: errors.answer,
            MoorageError: errors.answer,
            HTTPException: errors.answer,
            Exception: errors.answer,
        },
        openapi_config=OpenAPIConfig(
            title="Moorage",
            version=VERSION,
            description="A self-hosted upload and pinning gateway for IPFS.",
            path="/docs",
            use_handler_docstrings=True,
            render_plugins=[DocsPage(), SwaggerRenderPlugin()],
            components=Components(security_schemes=KEY_SCHEMES),
            security=[{"key": []}, {"bearer": []}],
            tags=[Tag(name) for name in ("Uploads", "Tasks", "Content", "Diagnostics", "Probes")],
        ),
        logging_config=None,
    )
    return HttpMiddleware(app, metrics)


@get("/metrics", summary="Metrics for Prometheus", tags=["Probes"], media_type="text/plain")
async def metrics_page(request: Request[Any, Any, AppState]) -> Response[bytes]:
    """This process's metrics, and the installation's as Redis knows them."""
    metrics: LocalMetrics = request.app.state.metrics
    body, content_type = await render(metrics.registry, await _snapshot(request.app.state.parts))
    return Response(body, media_type=content_type)


async def _snapshot(parts: Parts) -> ClusterSnapshot | None:
    now = parts.clock.now()
    try:
        signs = await read_signs(parts.redis, now)
        lengths = {queue: (await parts.dispatcher.view(queue)).length for queue in QUEUES}
        totals = await read_totals(parts.redis)
    except RecordsUnavailable:
        return None
    return ClusterSnapshot(
        totals=totals,
        workers={sign.hostname: (min(now - sign.at, FORGOTTEN_SECONDS), len(sign.active)) for sign in signs},
        queue_lengths=lengths,
        declared=[(actor.name, actor.queue) for actor in ACTORS.values()],
        up_within_seconds=ALIVE_SECONDS,
    )
