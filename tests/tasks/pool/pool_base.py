"""The Celery application of the pool's tests, without its tasks, and the notes that workers leave for the tests.

The notes are lists in Redis. Each signal that Celery sends about a task is noted, too.
"""

from __future__ import annotations

import json
import os
from typing import Any

from celery import Celery, Task, signals
from celery.worker import WorkController
from redis import Redis

from tasks import transport

REDIS_SOCKET = os.environ.get("POOL_TEST_SOCKET", "")
DATABASE = 4_000

app = Celery("pool_app")
app.conf.update(
    worker_pool="tasks.pool:AsyncioPool",
    asyncio_pool_application="tests.tasks.pool.pool_app:app",
    asyncio_pool_threads=4,
    asyncio_pool_cancel_seconds=1.0,
    asyncio_pool_recycle_grace_seconds=float(os.environ.get("POOL_TEST_GRACE", "300")),
    task_default_queue="pool",
    task_track_started=True,
    result_extended=True,
    broker_connection_retry_on_startup=True,
    worker_prefetch_multiplier=1,
    task_acks_late=bool(os.environ.get("POOL_TEST_ACKS_LATE", "1")),
    worker_soft_shutdown_timeout=float(os.environ.get("POOL_TEST_SOFT_SHUTDOWN", "0")),
    worker_pool_restarts=True,
    result_backend_always_retry=False,
    redis_socket_timeout=10.0,
)


def use(socket: str) -> Celery:
    """Points the application at the server on this unix socket."""
    global REDIS_SOCKET  # noqa: PLW0603 - the test process learns it late, the worker from its environment
    REDIS_SOCKET = socket
    url = f"redis+socket://{socket}?virtual_host={DATABASE}"
    app.conf.update(broker_url=url, result_backend=url)
    return app


def notes() -> Redis:
    """Where the notes are."""
    return Redis(unix_socket_path=REDIS_SOCKET, db=DATABASE, decode_responses=True)


def note(about: object, *what: Any) -> None:
    """Writes something down for a test to read."""
    notes().rpush(f"notes:{about}", json.dumps(what))


def read_notes(about: object) -> list[Any]:
    """What has been noted, oldest first; a single value as it is."""
    found = [json.loads(line) for line in notes().lrange(f"notes:{about}", 0, -1)]
    return [what[0] if len(what) == 1 else what for what in found]


if REDIS_SOCKET:
    use(REDIS_SOCKET)

if os.environ.get("POOL_TEST_TRANSPORT") == "lossless":
    transport.install()
    app.conf.broker_transport_options = {"lease_seconds": 2.0}

if os.environ.get("POOL_TEST_NO_HUB"):
    setattr(WorkController, "should_use_eventloop", lambda _: False)  # noqa: B010 - as on Windows; mypy knows better


@signals.task_prerun.connect(weak=False)
def on_prerun(task_id: str, task: Task[Any, Any], **_: Any) -> None:
    if task.name.startswith("tests."):
        note(f"signals:{task_id}", "prerun", task.request.id)


@signals.task_postrun.connect(weak=False)
def on_postrun(task_id: str, task: Task[Any, Any], state: str | None, **_: Any) -> None:
    if task.name.startswith("tests."):
        note(f"signals:{task_id}", "postrun", task.request.id, state)


@signals.task_success.connect(weak=False)
def on_success(sender: Task[Any, Any], **_: Any) -> None:
    if sender.name.startswith("tests."):
        note(f"signals:{sender.request.id}", "success", sender.request.id)


@signals.task_failure.connect(weak=False)
def on_failure(sender: Task[Any, Any], task_id: str, exception: BaseException, **_: Any) -> None:
    if sender.name.startswith("tests."):
        note(f"signals:{task_id}", "failure", sender.request.id, type(exception).__name__)


@signals.task_retry.connect(weak=False)
def on_retry(sender: Task[Any, Any], request: Any, **_: Any) -> None:
    note(f"signals:{request.id}", "retry", sender.request.id)


@signals.task_revoked.connect(weak=False)
def on_revoked(request: Any, terminated: bool, expired: bool, **_: Any) -> None:
    note(f"signals:{request.id}", "revoked", terminated, expired)
