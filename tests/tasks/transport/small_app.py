"""A Celery application of its own for the transport's tests, with our transport or with kombu's.

Tasks tell what they do through lists in the broker's database, named so that no queue is called the same.
"""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from celery import Celery
from kombu import Queue
from redis import Redis

from tasks import transport
from tasks.redis_address import celery_url

if os.environ.get("TEST_TRANSPORT", "lossless") == "lossless":
    transport.install()

URL = os.environ.get("TEST_BROKER", "redis://127.0.0.1:1/0")
DIARY_URL = os.environ.get("TEST_DIARY", URL)
OPTIONS: dict[str, Any] = {"lease_seconds": float(os.environ.get("TEST_LEASE_SECONDS", "1"))}
OPTIONS |= {"global_keyprefix": os.environ.get("TEST_PREFIX", "")}

app = Celery("small", broker=celery_url(URL))
app.conf.update(
    broker_transport_options=OPTIONS,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    task_acks_late=True,
    task_ignore_result=True,
    task_queues=[Queue("first"), Queue("second")],
    task_default_queue="first",
    worker_cancel_long_running_tasks_on_connection_loss=False,
    worker_prefetch_multiplier=4,
)


def diary() -> Redis:
    """Where the tasks write down what they do."""
    return Redis.from_url(DIARY_URL)


@app.task
def note(word: str) -> None:
    """Writes the word down."""
    diary().rpush("diary", word)


@app.task
def note_slowly(word: str, seconds: float) -> None:
    """Writes the word down when it begins and when it is done, some seconds later."""
    diary().rpush("begun", word)
    time.sleep(seconds)
    diary().rpush("diary", word)


@app.task(bind=True, max_retries=3)
def note_at_third_try(task: Any, word: str) -> None:
    """Fails twice, and is tried again soon after."""
    if task.request.retries < 2:
        raise task.retry(countdown=0.3)
    note(word)


@app.task(bind=True)
def kill_first_holder(task: Any, word: str) -> None:
    """Kills its process the first time, and writes down how often its holder died the second."""
    losses = (task.request.get("x-losses") if hasattr(task.request, "get") else None) or 0
    if not losses:
        os.kill(os.getpid(), signal.SIGKILL)
    diary().rpush("diary", f"{word} after {losses}")
