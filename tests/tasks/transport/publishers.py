"""Publishers of `small_app`'s tasks, with our transport and with kombu's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from celery import Celery
from kombu import Connection

from tasks import transport
from tasks.redis_address import celery_url


@contextmanager
def connected(redis_url: str, *, lossless: bool = True, **options: Any) -> Iterator[Connection]:
    """A connection of one of the two transports."""
    (transport.install if lossless else transport.uninstall)()
    try:
        with Connection(celery_url(redis_url), transport_options=options) as connection:
            connection.ensure_connection(max_retries=1)
            yield connection
    finally:
        transport.uninstall()


def send(redis_url: str, task: str, *args: Any, lossless: bool = True, prefix: str = "", **options: Any) -> str:
    """Publishes a task of `small_app`; returns its id."""
    app = Celery("publisher", set_as_current=False)
    app.conf.update(task_create_missing_queues=True)
    options = {"queue": "first"} | options
    with connected(redis_url, lossless=lossless, global_keyprefix=prefix) as connection:
        sent = app.send_task(f"tests.tasks.transport.small_app.{task}", args, connection=connection, **options)
        return str(sent.id)
