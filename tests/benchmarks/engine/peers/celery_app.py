"""A plain Celery application without anything of Moorage's but, where the environment says so, its pool and transport.

Run as a program it sends one task: the one named as its argument.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from typing import Any

from celery import Celery
from redis import Redis

REDIS_URL = os.environ["ENGINE_REDIS_URL"]

app = Celery("engine", broker=REDIS_URL)
app.conf.update(
    task_ignore_result=True,
    task_acks_late=True,
    task_default_queue="engine",
    broker_connection_retry_on_startup=True,
    **json.loads(os.environ.get("ENGINE_CELERY", "{}")),
)
redis = Redis.from_url(REDIS_URL)


@app.task(name="noop")
def noop() -> None:
    """Nothing, in a process or a thread."""


@app.task(name="noop_async")
async def noop_async() -> None:
    """Nothing, on an event loop."""


@app.task(name="wait_async")
async def wait_async() -> None:
    """What a pin does most of its time: wait for somebody else."""
    await asyncio.sleep(1.0)


@app.task(name="answer")
def answer() -> None:
    """Tells whoever sent it that it has run."""
    redis.rpush("answers", 1)


@app.task(name="answer_async")
async def answer_async() -> None:
    """The same on an event loop."""
    redis.rpush("answers", 1)


@app.task(name="linger", bind=True)
def linger(task: Any) -> None:
    """Says that it has begun, and takes so long that its worker is killed meanwhile."""
    redis.rpush("begun", str(time.time()))
    time.sleep(600)


@app.task(name="linger_async", bind=True)
async def linger_async(task: Any) -> None:
    """The same on an event loop."""
    redis.rpush("begun", str(time.time()))
    await asyncio.sleep(600)


if __name__ == "__main__":
    app.tasks[sys.argv[1]].delay()
