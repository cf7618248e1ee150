"""Our channels and kombu's own on the same keys, and what kombu offers beyond consuming."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from kombu import Exchange, Queue
from kombu.common import Broadcast
from redis import Redis

from tasks.redis_address import celery_url
from tasks.transport import scripts
from tasks.transport.names import Names
from tasks.transport.scripts import Source
from tests.tasks.transport.consuming import Taking
from tests.tasks.transport.publishers import connected, send
from tests.tasks.transport.small_worker import diary_of, small_worker
from tests.tasks.transport.wire import headers_of, raw_message, tag_of
from tests.waiting import eventually

VISIBLE_AFTER_SECONDS = 0.2


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    with Redis.from_url(redis_url) as connected_redis:
        yield connected_redis


@pytest.mark.parametrize("lossless", [True, False], ids=["by-ours", "by-stock"])
async def test_what_a_stock_worker_left_is_restored_as_kombu_does_it(
    redis_url: str, redis: Redis, lossless: bool
) -> None:
    with connected(redis_url, lossless=False) as connection:
        with connection.SimpleQueue("q") as queue:
            queue.put({"x": 1})
        channel: Any = connection.channel()
        left = channel.basic_get("q")
        channel.qos._on_collect.cancel()  # it dies
        redis.zadd("unacked_index", {left.delivery_tag: time.time() - 60})
        channel.qos._delivered.clear()
    options = {"visibility_timeout": 1, "unacked_restore_throttle": 1}
    with connected(redis_url, lossless=lossless, **options) as connection:
        other: Any = connection.channel()
        other.qos.restore_visible(interval=1)
    assert redis.llen("q") == 1
    assert "x-losses" not in headers_of(redis.lrange("q", 0, 0)[0])


def test_a_stock_worker_can_restore_what_ours_left(redis_url: str, redis: Redis) -> None:
    redis.lpush("q\x06\x163", raw_message("t1", priority=4))
    scripts.claim(redis, Names(), [Source("q")], 1, 60)
    redis.zadd("unacked_index", {"t1": time.time() - 60})
    with connected(redis_url, lossless=False, visibility_timeout=1) as connection:
        channel: Any = connection.channel()
        channel.qos.restore_visible(interval=1)
    assert [tag_of(raw) for raw in redis.lrange("q\x06\x163", 0, -1)] == ["t1"]
    assert redis.exists("unacked", "unacked_index") == 0


def test_a_stock_consumer_takes_what_our_publisher_sent_and_the_other_way_round(redis_url: str) -> None:
    for publisher, consumer in ((True, False), (False, True)):
        with connected(redis_url, lossless=publisher) as connection, connection.Producer() as producer:
            for priority in (9, 3, 0):
                producer.publish({"n": priority}, exchange="", routing_key="q", priority=priority)
        with connected(redis_url, lossless=consumer) as connection:
            given = Taking(connection, "q")
            given.drain(until=3)
            assert [message.payload["n"] for message in given.messages] == [0, 3, 9]
            for message in given.messages:
                message.ack()


@pytest.mark.parametrize("prefix", ["", "mine:"])
def test_a_batch_of_messages_is_published_with_what_is_delayed(redis_url: str, redis: Redis, prefix: str) -> None:
    eta = (datetime.now(UTC) + timedelta(seconds=60)).isoformat()
    with connected(redis_url, global_keyprefix=prefix) as connection:
        producer: Any = connection.Producer()
        with producer.batch():
            for headers in ({}, {"eta": eta}, {}):
                producer.publish({}, exchange="", routing_key="q", headers=headers)
            assert redis.exists(f"{prefix}q.delayed") == 0
    assert (redis.llen(f"{prefix}q"), redis.zcard(f"{prefix}q.delayed")) == (2, 1)


def test_a_queue_that_expires_does_so_also_when_it_was_asked_for_a_message(redis_url: str, redis: Redis) -> None:
    with connected(redis_url) as connection:
        producer: Any = connection.Producer()
        channel: Any = connection.channel()
        Queue("q", routing_key="q", expires=60)(channel).declare()
        for _ in range(2):
            producer.channel._expires.update(channel._expires)
            producer.publish({}, exchange="", routing_key="q")
        redis.persist("q")
        assert channel.basic_get("q") is not None
        assert 0 < redis.pttl("q") <= 60_000


def test_a_deleted_queue_takes_what_is_delayed_with_it(redis_url: str, redis: Redis) -> None:
    redis.zadd("q.delayed", {raw_message(eta="2999-01-01T00:00:00"): 9e9})
    with connected(redis_url) as connection:
        queue = Queue("q", Exchange("q"), routing_key="q")(connection.channel())
        queue.declare()
        queue.delete(if_empty=True)
        assert redis.exists("q.delayed") == 1
        queue.delete()
        assert redis.exists("q.delayed") == 0


async def test_a_broadcast_message_that_is_to_be_acknowledged_is_held_as_stock_holds_it(
    redis_url: str, redis: Redis
) -> None:
    seen: list[Any] = []
    with connected(redis_url) as connection:
        connection.Consumer([Broadcast("news")], channel=connection.channel(), on_message=seen.append).consume()
        connection.drain_events(timeout=2)  # it has subscribed
        connection.Producer().publish({"n": 1}, exchange="news")
        while not seen:
            connection.drain_events(timeout=2)
        assert redis.hlen("unacked") == 1
        seen[0].ack()
    await eventually(lambda: not redis.exists("unacked"))


async def test_a_worker_can_be_told_to_take_from_other_queues_and_asked_what_it_does(
    tmp_path: Path, redis_url: str, redis: Redis
) -> None:
    async with small_worker(tmp_path, redis_url, "-Q", "first", pool="threads", concurrency=2):
        app = Celery("operator", broker=celery_url(redis_url), set_as_current=False)
        app.control.add_consumer("second", reply=True)
        send(redis_url, "note", "from-second", queue="second")
        await diary_of(redis, "from-second")
        app.control.cancel_consumer("first", reply=True)
        send(redis_url, "note_slowly", "from-first", 1, queue="first")
        send(redis_url, "note_slowly", "seen", 1, queue="second")
        await eventually(lambda: redis.lrange("begun", 0, -1) == [b"seen"])
        [active] = (app.control.inspect(timeout=2).active() or {}).values()
        assert [task["args"] for task in active] == [["seen", 1]]
        assert redis.llen("first") == 1
        send(redis_url, "note", "revoked", queue="second", countdown=1.0, task_id="r1")
        app.control.revoke("r1", reply=True)
        await diary_of(redis, "seen")
        await eventually(lambda: redis.zcard("second.delayed") == 0 and redis.hlen("unacked") == 0)
        assert json.loads(redis.lrange("first", 0, 0)[0])["headers"]["argsrepr"].startswith("('from-first'")
        assert b"revoked" not in redis.lrange("diary", 0, -1)
