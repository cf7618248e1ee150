"""A consumer on a real server: what it is given, when, and what happens to it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from redis import Redis

from tasks.transport.names import Names
from tests.tasks.transport.consuming import taking
from tests.tasks.transport.publishers import connected
from tests.tasks.transport.wire import raw_message
from tests.waiting import eventually

LONG_SECONDS = 60.0
"""How long a consumer waits that nobody tells: a test that ends before was told."""


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    with Redis.from_url(redis_url) as connected_redis:
        yield connected_redis


def later(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


async def test_messages_come_in_order_and_are_gone_once_acknowledged(redis_url: str, redis: Redis) -> None:
    for number in range(5):
        redis.lpush("q", raw_message(f"t{number}"))
    with taking(redis_url, "q") as consumer:
        consumer.drain(until=5)
        assert consumer.tags == [f"t{number}" for number in range(5)]
        assert redis.hlen("unacked") == 5
        for message in consumer.messages:
            message.ack()
        await eventually(lambda: not redis.exists(*Names().held()))


def test_no_more_is_taken_than_there_is_room_for(redis_url: str, redis: Redis) -> None:
    redis.lpush("q", *(raw_message() for _ in range(10)))
    with taking(redis_url, "q", prefetch=3) as consumer:
        consumer.drain(until=3)
        consumer.drain_for(0.2)
        assert (redis.hlen("unacked"), redis.llen("q")) == (3, 7)
        consumer.messages[0].ack()
        consumer.drain(until=4)
        assert redis.llen("q") == 6


def test_a_busy_queue_does_not_keep_a_calm_one_waiting(redis_url: str, redis: Redis) -> None:
    redis.lpush("busy", *(raw_message(f"b{number}", queue="busy") for number in range(50)))
    redis.lpush("calm", *(raw_message(f"c{number}", queue="calm") for number in range(3)))
    with taking(redis_url, "busy", "calm", prefetch=1) as consumer:
        for given in range(1, 8):
            consumer.drain(until=given)
            consumer.messages[-1].ack()
        assert {"c0", "c1", "c2"} <= set(consumer.tags)


def test_an_idle_consumer_is_told_of_a_message(redis_url: str, redis: Redis) -> None:
    with taking(redis_url, "q", poll_seconds=LONG_SECONDS) as consumer:
        consumer.drain_for(0.2)
        for number in range(3):
            publisher = threading.Timer(0.05, redis.lpush, ("q", raw_message(f"t{number}")))
            publisher.start()
            consumer.drain(until=number + 1)
            publisher.join()


def test_an_idle_consumer_wakes_when_a_delayed_message_is_due(redis_url: str, redis: Redis) -> None:
    with taking(redis_url, "q", poll_seconds=LONG_SECONDS) as consumer:
        consumer.drain_for(0.2)
        redis.lpush("q", raw_message("second", eta=later(0.6)))
        redis.zadd("q.delayed", {raw_message("first", eta=later(0.3)): time.time() + 0.3})
        consumer.drain(until=1)
        assert consumer.tags == ["first"]
        consumer.drain(until=2)


def test_a_consumer_that_nobody_may_tell_looks_by_itself_and_says_so_once(
    redis_url: str, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    commands = ["+@all", "-client|tracking"]
    redis.acl_setuser("mute", enabled=True, passwords=["+secret"], keys=["*"], channels=["*"], commands=commands)
    with taking(redis_url.replace("unix://", "unix://mute:secret@"), "q", poll_seconds=0.2) as consumer:
        consumer.drain_for(0.5)
        redis.lpush("q", raw_message("t1"))
        consumer.drain(until=1, deadline_seconds=1)
        consumer.drain_for(0.5)
    assert [record.levelname for record in caplog.records if "does not announce" in record.message] == ["WARNING"]


@pytest.mark.parametrize(
    "raw",
    [
        raw_message("bad").replace(b'"W1tdLCB7fSwge31d"', b'"W1"'),
        raw_message("bad").replace(b'"W1tdLCB7fSwge31d"', b"7"),
        raw_message("bad").replace(b'"delivery_mode": 2', b'"delivery_mode": 0x10'),
        raw_message("bad")[5:],
        b'{"properties": {"delivery_tag": "a"}, "x": {"delivery_tag": "b"}}',
    ],
    ids=["not base64", "a number", "json of lua only", "cut off", "two tags"],
)
async def test_a_message_that_only_python_cannot_read_is_put_aside(
    redis_url: str, redis: Redis, caplog: pytest.LogCaptureFixture, raw: bytes
) -> None:
    redis.rpush("q", raw_message("good"), raw)
    with taking(redis_url, "q") as consumer:
        consumer.drain(until=1)
        assert consumer.tags == ["good"]
        consumer.messages[0].ack()
        assert redis.llen("q.malformed") == 1
        assert "q.malformed" in caplog.text
        await eventually(lambda: not redis.exists(*Names().held()))


async def test_a_rejected_message_goes_to_the_back_of_its_queue_or_is_dropped(redis_url: str, redis: Redis) -> None:
    redis.lpush("q", raw_message("again"), raw_message("never"))
    with taking(redis_url, "q", prefetch=2) as consumer:
        consumer.drain(until=2)
        redis.lpush("q", raw_message("new"))
        consumer.messages[0].reject(requeue=True)
        consumer.messages[1].reject()
        await eventually(lambda: redis.hlen("unacked") == 0)
        consumer.drain(until=4)
        assert consumer.tags[2:] == ["new", "again"]
        assert consumer.messages[3].headers == {"redelivered": True}


async def test_a_consumer_that_is_cancelled_gets_no_more_and_loses_nothing(redis_url: str, redis: Redis) -> None:
    with taking(redis_url, "q", "other") as consumer:
        consumer.drain_for(0.1)
        redis.lpush("q", *(raw_message(f"t{number}") for number in range(5)))
        consumer.consumer.cancel_by_queue("q")
        redis.lpush("other", raw_message("o", queue="other"))
        consumer.drain(until=1)
        assert consumer.tags == ["o"]
        await eventually(lambda: redis.llen("q") == 5)


async def test_what_a_closing_channel_was_given_goes_back_at_once_and_in_order(redis_url: str, redis: Redis) -> None:
    redis.lpush("q", *(raw_message(f"t{number}") for number in range(3)))
    with taking(redis_url, "q") as consumer:
        consumer.drain(until=3)
    await eventually(lambda: redis.llen("q") == 3)
    with taking(redis_url, "q") as consumer:
        consumer.drain(until=3)
        assert consumer.tags == ["t0", "t1", "t2"]
        assert consumer.messages[0].headers == {"redelivered": True}


async def test_one_message_can_be_asked_for(redis_url: str, redis: Redis) -> None:
    redis.lpush("q", b"{", raw_message("t1"), raw_message("t2"), raw_message("t3", eta=later(LONG_SECONDS)))
    with connected(redis_url) as connection:
        channel: Any = connection.channel()
        first, second = channel.basic_get("q"), channel.basic_get("q", no_ack=True)
        assert (first.delivery_tag, second.delivery_tag) == ("t1", "t2")
        assert channel.basic_get("q") is None
        assert redis.hkeys("unacked") == [b"t1"]
        first.ack()
        await eventually(lambda: not redis.exists(*Names().held()))
    assert (redis.llen("q.malformed"), redis.zcard("q.delayed")) == (1, 1)


def test_a_consumer_that_does_not_acknowledge_holds_nothing(redis_url: str, redis: Redis) -> None:
    redis.lpush("q", raw_message("t1"))
    with taking(redis_url, "q", no_ack=True) as consumer:
        consumer.drain(until=1)
        assert not redis.exists(*Names().held())


def test_a_queues_size_and_its_purging_include_what_is_delayed(redis_url: str, redis: Redis) -> None:
    redis.lpush("q", raw_message())
    redis.lpush("q\x06\x163", raw_message(priority=3))
    redis.zadd("q.delayed", {raw_message(eta=later(LONG_SECONDS)): time.time() + LONG_SECONDS})
    with connected(redis_url) as connection:
        channel: Any = connection.channel()
        assert channel.queue_declare("q", passive=True).message_count == 3
        assert channel.queue_purge("q") == 3
        assert not redis.exists("q", "q\x06\x163", "q.delayed")


def test_a_message_published_with_an_eta_waits_beside_the_queue(redis_url: str, redis: Redis) -> None:
    with connected(redis_url) as connection, connection.Producer() as producer:
        for eta in (later(LONG_SECONDS), later(-1), "soon"):
            producer.publish({}, exchange="", routing_key="q", headers={"eta": eta})
    assert (redis.zcard("q.delayed"), redis.llen("q")) == (1, 2)
    assert redis.zrange("q.delayed", 0, 0, withscores=True)[0][1] == pytest.approx(time.time() + LONG_SECONDS, abs=5)
