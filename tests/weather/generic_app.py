"""A Celery application that knows nothing of this project but its transport and its pool.

Its tasks write what they did into a ledger: a database on another server, where the sun always shines.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from dataclasses import asdict, dataclass, field
from typing import Any

from celery import Celery
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from tasks import transport

VARIABLE = "GENERIC_APP"
ASYNCIO = "tasks.pool:AsyncioPool"
QUEUES = ("red", "blue")
RUNS, STARTS = "runs", "starts"
LOOK_SECONDS = 0.02


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What one process of the fleet is to be."""

    broker: str
    ledger: str
    lossless: bool = True
    pool: str = ASYNCIO
    options: dict[str, Any] = field(default_factory=dict)
    conf: dict[str, Any] = field(default_factory=dict)

    def environ(self) -> dict[str, str]:
        """How a process of its own is told."""
        return dict(os.environ) | {VARIABLE: json.dumps(asdict(self))}


def build(setup: Setup) -> Celery:
    """The application, and the transport it speaks through in this process; it connects to nothing."""
    (transport.install if setup.lossless else transport.uninstall)()
    app = Celery("generic", broker=setup.broker, set_as_current=False)
    app.conf.update(
        broker_transport_options={"lease_seconds": 2, "poll_seconds": 0.5, "visibility_timeout": 3_600} | setup.options,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        task_acks_late=True,
        task_ignore_result=True,
        task_create_missing_queues=True,
        task_default_queue=QUEUES[0],
        worker_pool=setup.pool,
        worker_prefetch_multiplier=1,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_enable_remote_control=True,
        worker_send_task_events=False,
    )
    app.conf.update(setup.conf)
    (_coroutines if setup.pool == ASYNCIO else _plain_functions)(app, setup.ledger)
    return app


def _coroutines(app: Celery, url: str) -> None:
    ledger: AsyncRedis = AsyncRedis.from_url(url)

    @app.task(name="mark")
    async def mark(number: int) -> None:
        await ledger.hincrby(RUNS, str(number), 1)

    @app.task(name="wait_for")
    async def wait_for(number: int, gate: str) -> None:
        await ledger.hincrby(STARTS, str(number), 1)
        while not await ledger.exists(gate):
            await asyncio.sleep(LOOK_SECONDS)
        await ledger.hincrby(RUNS, str(number), 1)


def _plain_functions(app: Celery, url: str) -> None:
    ledger: Redis = Redis.from_url(url)

    @app.task(name="mark")
    def mark(number: int) -> None:
        ledger.hincrby(RUNS, str(number), 1)

    @app.task(name="wait_for")
    def wait_for(number: int, gate: str) -> None:
        ledger.hincrby(STARTS, str(number), 1)
        while not ledger.exists(gate):
            time.sleep(LOOK_SECONDS)
        ledger.hincrby(RUNS, str(number), 1)


if VARIABLE in os.environ:
    app = build(Setup(**json.loads(os.environ[VARIABLE])))
