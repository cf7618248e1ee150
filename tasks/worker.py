"""Wires a worker or a beat: `celery -A tasks.worker worker -Q upload` is all it takes.

Importing this reads the environment, sets up logs, and attaches observability, heartbeat and the loop that runs the
actors' coroutines. `tasks.app` alone does none of that.
"""

from __future__ import annotations

import importlib.metadata
import os
from typing import Any

import structlog
from celery import signals

from observability import logs
from observability.logs import LogSettings
from observability.signals import attach
from tasks import bridge, collector
from tasks.app import REDIS_TIMEOUT_SECONDS, configure
from tasks.catalog import migrate
from tasks.clock import SystemClock
from tasks.consuming import is_consuming
from tasks.heartbeat import Heartbeat
from tasks.parts import Parts
from tasks.queues import QUEUES
from tasks.redis_address import client
from tasks.schedule import ENTRIES
from tasks.settings import TaskSettings, read
from tasks.totals import TotalsStore
from tasks.undelay import undelay

settings = read(TaskSettings, os.environ)
logs.configure(read(LogSettings, os.environ), os.environ.get("MOORAGE_ROLE", "worker"))
app = configure(settings)
attach(
    TotalsStore.connect(settings.redis_url).add,
    node_name="beat",  # until it turns out to be a worker
    quiet_actors=[entry.actor for entry in ENTRIES],
)
log = structlog.get_logger(__name__)


async def open_parts() -> Parts:
    """This process's parts, with the catalog in today's shape."""
    parts = await Parts.open(settings)
    await migrate.upgrade(parts.catalog)
    return parts


bridge.use(open_parts, settings.shutdown_grace_seconds)
_heartbeats: list[Heartbeat] = []


@signals.worker_ready.connect(weak=False)
def on_ready(sender: Any, **_: object) -> None:
    """The worker consumes: from now on it says so every few seconds."""
    queues = tuple(sender.app.amqp.queues.consume_from)
    redis = client(settings.redis_url, REDIS_TIMEOUT_SECONDS)
    heartbeat = Heartbeat(redis, sender.hostname, queues, SystemClock(), lambda: is_consuming(sender.controller))
    heartbeat.start()
    _heartbeats.append(heartbeat)
    collector.spare()
    if settings.transport == "stock":
        undelay(client(settings.broker_url or settings.redis_url, REDIS_TIMEOUT_SECONDS), QUEUES)
    log.info("worker.ready", queues=queues, version=importlib.metadata.version("moorage"))


@signals.worker_shutting_down.connect(weak=False)
def on_shutting_down(**_: object) -> None:
    """No new work is taken; what runs may finish within the grace, then it is handed back."""
    bridge.stop_soon()


@signals.worker_shutdown.connect(weak=False)
def on_shutdown(**_: object) -> None:
    """Nothing runs any more."""
    for heartbeat in _heartbeats:
        heartbeat.stop()
    bridge.close()
