"""The worker that is killed: one task that leaves a line in a file, where no death of a server can undo it."""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path
from typing import Any

from celery import Celery

LIFE = os.environ["CHAOS_LIFE"]
EFFECTS = os.open(Path(os.environ["CHAOS_EFFECTS"]), os.O_WRONLY | os.O_CREAT | os.O_APPEND)

app = Celery("chaos", broker=os.environ["CHAOS_BROKER"])
app.conf.update(
    task_ignore_result=True,
    task_acks_late=True,
    task_default_queue="chaos",
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    worker_cancel_long_running_tasks_on_connection_loss=False,
    **json.loads(os.environ["CHAOS_CELERY"]),
)


def leave(number: int) -> None:
    """One line by one write: whole or not there."""
    os.write(EFFECTS, f"{LIFE} {number}\n".encode())


@app.task(name="effect")
def effect(number: int) -> None:
    """In a process or a thread."""
    leave(number)


@app.task(name="effect_async")
async def effect_async(number: int) -> None:
    """On an event loop; a few await something, so that kills find runs of every age."""
    if number % 10 == 0:
        await asyncio.sleep(0.05)
    leave(number)


@app.task(name="linger", bind=True)
def linger(task: Any, number: int, seconds: float) -> None:
    """Begins, and takes long, in a thread."""
    leave(number)
    time.sleep(seconds)


@app.task(name="linger_async", bind=True)
async def linger_async(task: Any, number: int, seconds: float) -> None:
    """Begins, and takes long, on an event loop."""
    leave(number)
    await asyncio.sleep(seconds)
