from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from celery import signals
from redis import Redis

from tasks.app import app, configure
from tasks.jobs import diagnostics
from tasks.messages import Outgoing, encode, sent
from tasks.redis_address import celery_url
from tasks.settings import TaskSettings

ARGUMENTS = {"x": 1, "y": 2.5}
AWKWARD = 'ümlaut "quoted" \U0001f600'
DUE = datetime(2030, 1, 2, 3, 4, 5, 678901, UTC)
STATED_DIFFERENCES = {"headers": {"origin", "moorage_context", "created_at", "enqueued_at"}, "properties": {"reply_to"}}
"""Who sent it and when, what travels with it, and that nobody waits for a reply on a queue of his own."""


def outgoing(**different: Any) -> Outgoing:
    usual: dict[str, Any] = {"task_id": "t-1", "actor": diagnostics.add.name, "queue": "upkeep", "context": {"a": "b"}}
    return Outgoing(**usual | {"arguments": ARGUMENTS, "created_at": 5.0, "enqueued_at": 7.0} | different)


def opened(raw: bytes) -> dict[str, Any]:
    envelope: dict[str, Any] = json.loads(raw)
    envelope["body"] = json.loads(base64.b64decode(envelope["body"]))
    return envelope


@pytest.mark.parametrize(
    ("ours", "celery_s"),
    [
        ({}, {}),
        ({"attempt": 2}, {"retries": 2}),
        ({"eta": DUE}, {"eta": DUE}),
        ({"arguments": {"message": AWKWARD}}, {"kwargs": {"message": AWKWARD}}),
    ],
)
def test_a_message_is_what_celery_would_have_sent(
    task_settings: TaskSettings, ours: dict[str, Any], celery_s: dict[str, Any]
) -> None:
    configure(task_settings)
    options: dict[str, Any] = {"kwargs": ARGUMENTS, "task_id": "t-1", "queue": "upkeep"} | celery_s
    with app.connection_for_write(celery_url(task_settings.redis_url)) as connection:
        app.tasks["add"].apply_async(**options | {"connection": connection})
    with Redis.from_url(task_settings.redis_url) as redis:
        raw: Any = redis.lpop("upkeep") or redis.zrange("upkeep.delayed", 0, 0)[0]
    theirs, built = opened(raw), opened(encode(outgoing(**ours)))
    assert built["properties"].pop("delivery_tag") != theirs["properties"].pop("delivery_tag")
    for part, names in STATED_DIFFERENCES.items():
        for name in names:
            built[part].pop(name)
            theirs[part].pop(name, None)
    assert built == theirs


def test_the_context_and_the_times_travel_along() -> None:
    headers = opened(encode(outgoing()))["headers"]
    assert (headers["moorage_context"], headers["created_at"], headers["enqueued_at"]) == ({"a": "b"}, 5.0, 7.0)


@pytest.mark.parametrize("losses", [0, 2])
def test_a_message_says_how_often_a_worker_died_with_its_task(losses: int) -> None:
    assert opened(encode(outgoing(losses=losses)))["headers"].get("x-losses", 0) == losses


def test_no_two_messages_are_alike() -> None:
    tags = {opened(encode(outgoing()))["properties"]["delivery_tag"] for _ in range(100)}
    assert len(tags) == 100, "the broker keeps what is in hand by this tag"


@contextmanager
def heard(signal: Any, receiver: Any) -> Iterator[None]:
    signal.connect(receiver, weak=False)
    try:
        yield
    finally:
        signal.disconnect(receiver)


def test_who_listens_to_celery_s_signals_hears_of_it_and_may_add_headers() -> None:
    def add_header(headers: dict[str, Any], routing_key: str, **_: object) -> None:
        headers["traceparent"] = routing_key

    with heard(signals.before_task_publish, add_header):
        assert opened(encode(outgoing()))["headers"]["traceparent"] == "upkeep"

    told: list[tuple[Any, ...]] = []

    def note(sender: str, headers: dict[str, Any], routing_key: str, **_: object) -> None:
        told.append((sender, headers["id"], routing_key))

    with heard(signals.after_task_publish, note):
        sent(outgoing())
    assert told == [("add", "t-1", "upkeep")]
