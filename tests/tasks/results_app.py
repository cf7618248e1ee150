"""A Celery application that stores its results through `tasks.results`, for a real worker with the asyncio pool."""

from __future__ import annotations

import asyncio
import os
from typing import Any, NoReturn

from celery import Celery, Task

from tasks import transport
from tasks.app import RESULTS
from tasks.redis_address import celery_url

URL = os.environ.get("RESULTS_BROKER", "redis://127.0.0.1:1/0")
PREFIX = "tests."
SUCCESS_SECONDS, FAILURE_SECONDS = 1_000, 2_000

transport.install()
app = Celery("results")
app.loader.override_backends = RESULTS


def use(redis_url: str) -> Celery:
    """Points the application at this server."""
    app.conf.update(
        broker_url=celery_url(redis_url),
        result_backend=celery_url(redis_url),
        result_backend_transport_options={"global_keyprefix": PREFIX, "retry_policy": {"max_retries": 1}},
        result_expires=SUCCESS_SECONDS,
        result_failure_expires=FAILURE_SECONDS,
        worker_pool="tasks.pool:AsyncioPool",
        task_acks_late=True,
        task_track_started=True,
        broker_connection_retry_on_startup=True,
        redis_socket_timeout=5.0,
    )
    return app


use(URL)


@app.task
async def add(x: int, y: int) -> int:
    await asyncio.sleep(0)
    return x + y


@app.task
async def total(numbers: list[int]) -> int:
    return sum(numbers)


@app.task
async def text(length: int) -> str:
    return "x" * length


@app.task
async def fail() -> NoReturn:
    raise ValueError("wrong")


@app.task(ignore_result=True)
async def silent() -> int:
    return 1


@app.task(bind=True, max_retries=1)
async def second_time(self: Task[Any, Any]) -> str:
    if self.request.retries == 0:
        raise self.retry(countdown=0)
    return "done"


@app.task(result_is_a_copy=True)
async def written_down_elsewhere() -> int:
    return 1
