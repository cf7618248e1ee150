"""Celery's wire message for one task, built without Celery's producer so that sending never blocks an event loop.

The shape is kombu's Redis envelope around Celery's message protocol 2, which any worker, inspector or Flower reads.
https://docs.celeryq.dev/en/stable/internals/protocol.html
"""

from __future__ import annotations

import base64
import uuid
from datetime import datetime
from typing import Any

import msgspec
from celery import signals

from tasks.app import app
from tasks.pool import losses

ORIGIN = "moorage"


class Outgoing(msgspec.Struct, frozen=True, kw_only=True):
    """A task to be sent: to which queue, with what, and not to be run before `eta` when there is one."""

    task_id: str
    actor: str
    queue: str
    arguments: dict[str, Any]
    context: dict[str, str]
    attempt: int = 0
    eta: datetime | None = None
    created_at: float
    """When the task was accepted, in epoch seconds. A retry keeps it."""
    enqueued_at: float
    losses: int = 0
    """How often a worker died with it, as far as the catalog knows."""


def encode(message: Outgoing) -> bytes:
    """The envelope to push onto the queue's list. Fires `before_task_publish`, whose receivers may add headers."""
    built = app.amqp.as_task_v2(
        message.task_id,
        message.actor,
        args=(),
        kwargs=message.arguments,
        retries=message.attempt,
        eta=message.eta,
        origin=ORIGIN,
    )
    headers = built.headers | {
        "moorage_context": message.context,
        "created_at": message.created_at,
        "enqueued_at": message.enqueued_at,
    }
    if message.losses:
        headers[losses.HEADER] = message.losses
    properties = built.properties | {
        "delivery_mode": 2,
        "delivery_info": {"exchange": "", "routing_key": message.queue},
        "priority": 0,
        "body_encoding": "base64",
        "delivery_tag": str(uuid.uuid4()),
    }
    route = {"exchange": "", "routing_key": message.queue}
    signals.before_task_publish.send(
        sender=message.actor,
        body=built.body,
        headers=headers,
        properties=properties,
        declare=[],
        retry_policy={},
        **route,
    )
    envelope = {
        "body": base64.b64encode(msgspec.json.encode(built.body)).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": headers,
        "properties": properties,
    }
    return msgspec.json.encode(envelope)


def sent(message: Outgoing) -> None:
    """Fires `after_task_publish`, once the broker has the message."""
    headers = {"id": message.task_id, "task": message.actor, "moorage_context": message.context}
    signals.after_task_publish.send(
        sender=message.actor, body=None, headers=headers, exchange="", routing_key=message.queue
    )
