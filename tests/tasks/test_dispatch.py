from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.catalog.tasks import TaskRow
from tasks.clock import ManualClock
from tasks.dispatch import CLOCK_SKEW_SECONDS, Dispatcher, QueueView
from tasks.errors import RecordsUnavailable
from tasks.parts import Parts, connect
from tasks.records import Record
from tasks.settings import TaskSettings
from tests.real_valkey import RealValkey

NewRow = Callable[..., TaskRow]
NOW = 1_000.0


@pytest.fixture
async def parts(task_settings: TaskSettings) -> AsyncIterator[Parts]:
    opened = await Parts.open(task_settings, ManualClock(NOW))
    yield opened
    await opened.close()


def record(task_id: str = "t", **different: Any) -> Record:
    usual: dict[str, Any] = {"task_id": task_id, "owner": "ann", "actor": "add", "queue": "upkeep"}
    return Record(**usual | {"durable": False, "created_at": NOW} | different)


async def headers_in(parts: Parts, queue: str) -> list[dict[str, Any]]:
    found: Any = await parts.broker.lrange(queue, 0, -1)
    return [json.loads(raw)["headers"] for raw in reversed(found)]


async def test_a_task_is_sent_with_its_record_in_one_go(parts: Parts) -> None:
    await parts.dispatcher.send(record(), {"x": 1, "y": 2}, {"request_id": "r"})
    [headers] = await headers_in(parts, "upkeep")
    assert (headers["id"], headers["task"], headers["retries"], headers["eta"]) == ("t", "add", 0, None)
    assert headers["moorage_context"] == {"request_id": "r", "owner_id": "ann"}
    assert headers["enqueued_at"] == NOW
    found = await parts.records.get("t")
    assert found is not None
    assert found.state == "PENDING"


async def test_a_delayed_task_says_when_it_is_to_run(parts: Parts) -> None:
    await parts.dispatcher.send(record(), {}, {}, delay_seconds=60)
    [headers] = await headers_in(parts, "upkeep")
    assert headers["eta"] == "1970-01-01T00:17:40+00:00"


async def test_a_row_is_hinted_with_all_it_says(parts: Parts, new_row: NewRow) -> None:
    row = new_row(attempt=2, context={"request_id": "r"}, due_at=NOW + 5)
    assert await parts.dispatcher.hint(row)
    [headers] = await headers_in(parts, "upload")
    assert (headers["id"], headers["task"], headers["retries"]) == (row.id, "ingest", 2)
    assert headers["moorage_context"] == {"request_id": "r", "owner_id": "ann"}
    assert headers["eta"] == "1970-01-01T00:16:45+00:00"


async def test_what_is_overdue_is_sent_without_a_time(parts: Parts, new_row: NewRow) -> None:
    await parts.dispatcher.hint(new_row(due_at=NOW - 5))
    [headers] = await headers_in(parts, "upload")
    assert headers["eta"] is None


async def test_without_a_broker_a_hint_is_refused_and_a_task_is_an_error(
    own_valkey: RealValkey, tmp_path: Path, new_row: NewRow
) -> None:
    parts = await Parts.open(TaskSettings(data=tmp_path, redis_url=own_valkey.url()))
    own_valkey.kill()
    assert not await parts.dispatcher.hint(new_row())
    with pytest.raises(RecordsUnavailable):
        await parts.dispatcher.send(record(), {}, {})
    with pytest.raises(RecordsUnavailable):
        await parts.dispatcher.view("upload")
    own_valkey.start()
    assert await parts.dispatcher.hint(new_row())
    await parts.close()


async def test_a_broker_of_its_own_gets_the_messages_and_redis_the_records(
    own_valkey: RealValkey, redis_url: str, tmp_path: Path, new_row: NewRow
) -> None:
    parts = await Parts.open(TaskSettings(data=tmp_path, redis_url=redis_url, broker_url=own_valkey.url()))
    row = new_row()
    assert await parts.dispatcher.hint(row)
    assert await parts.redis.llen("upload") == 0
    assert await parts.broker.llen("upload") == 1
    assert await parts.records.get(row.id) is not None
    own_valkey.kill()
    assert not await parts.dispatcher.hint(row)
    await parts.close()


async def test_a_queue_is_viewed_over_all_its_priorities(parts: Parts, redis_url: str, new_row: NewRow) -> None:
    clock = ManualClock(NOW)
    redis = connect(redis_url)
    dispatcher = Dispatcher(redis, redis, parts.records, clock)
    assert await dispatcher.view("upload") == QueueView(0, None)
    for _ in range(3):
        await dispatcher.hint(new_row())
        clock.advance(10)
    assert await dispatcher.view("upload") == QueueView(3, NOW)
    await redis.rename("upload", "upload\x06\x169")
    await dispatcher.hint(new_row())
    assert await dispatcher.view("upload") == QueueView(4, NOW)
    assert await dispatcher.view("pinning") == QueueView(0, None)
    await redis.rpush("upload", b"somebody else's message")
    assert await dispatcher.view("upload") == QueueView(5, None)
    await redis.aclose()


async def test_a_due_message_at_the_front_says_nothing_of_those_behind_it(parts: Parts, new_row: NewRow) -> None:
    dispatcher = Dispatcher(parts.broker, parts.redis, parts.records, ManualClock(NOW))
    await dispatcher.hint(new_row())
    later = Dispatcher(parts.broker, parts.redis, parts.records, ManualClock(NOW + 60))
    await later.hint(new_row(due_at=NOW + 90))
    retried: Any = await parts.broker.lpop("upload")
    await parts.broker.rpush("upload", retried)
    assert (await dispatcher.view("upload")).oldest_enqueued_at == NOW
    await parts.broker.ltrim("upload", -1, -1)
    assert await dispatcher.view("upload") == QueueView(1, None), "nobody knows what waits behind it"


async def test_delayed_messages_are_not_gone(parts: Parts) -> None:
    await parts.broker.zadd("upload.delayed", {"later": NOW + 50, "latest": NOW + 99})
    view = await parts.dispatcher.view("upload")
    assert view == QueueView(0, None, NOW + 50)
    assert view.gone_before == NOW + 50 - CLOCK_SKEW_SECONDS
    assert QueueView(1, NOW, NOW + 50).gone_before == NOW - CLOCK_SKEW_SECONDS
    assert QueueView(1, NOW, NOW - 50).gone_before == NOW - 50 - CLOCK_SKEW_SECONDS


def test_what_was_sent_before_the_oldest_message_in_a_queue_has_been_taken() -> None:
    assert QueueView(0, None).gone_before == math.inf, "an empty queue holds nothing"
    assert QueueView(3, None).gone_before == -math.inf, "it may hold anything"
    assert QueueView(3, NOW).gone_before == NOW - CLOCK_SKEW_SECONDS
