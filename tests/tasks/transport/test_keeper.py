"""The thread that keeps what is held, on a real server."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from redis import Redis

from tasks.transport import life, running, scripts
from tasks.transport.keeper import Keeper
from tasks.transport.names import Names
from tasks.transport.options import Options
from tasks.transport.scripts import Source
from tests.real_valkey import RealValkey
from tests.tasks.transport.consuming import taking
from tests.tasks.transport.wire import headers_of, raw_message
from tests.waiting import eventually

NAMES = Names()
LEASE_SECONDS = 0.4
OPTIONS = Options(lease_seconds=LEASE_SECONDS)


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    with Redis.from_url(redis_url) as connected:
        yield connected


@pytest.fixture
def keep(redis_url: str) -> Iterator[Callable[[str], Keeper]]:
    """Makes a keeper that holds one message, claimed for it."""
    kept: list[Keeper] = []

    def make(tag: str) -> Keeper:
        client = Redis.from_url(redis_url)
        client.lpush("q", raw_message(tag))
        scripts.claim(client, NAMES, [Source("q")], 1, LEASE_SECONDS)
        keeper = Keeper(NAMES, OPTIONS, lambda: Redis.from_url(redis_url))
        keeper.hold([tag])
        keeper.attach()
        kept.append(keeper)
        return keeper

    before = set(threading.enumerate())
    yield make
    for keeper in kept:
        keeper.detach()
        keeper.end()
    for thread in set(threading.enumerate()) - before:
        thread.join(5)


def ages_of(redis: Redis, tag: str, times: int) -> list[float]:
    """The first so many different times at which the lease of this message was renewed."""
    seen: list[float] = []
    while len(seen) < times:
        score = redis.zscore("unacked_index", tag)
        if isinstance(score, float) and score not in seen:
            seen.append(score)
    return seen


def scripts_in(monitor: Any) -> Iterator[str]:
    """The scripts of keepers that the server is sent, one after the other."""
    named = {getattr(scripts, name).sha: name for name in ("BEAT", "SETTLE", "RESTORE")}
    for command in monitor.listen():
        words = command["command"].split()
        if words[0] == "EVALSHA":
            yield named[words[1]]


async def test_a_lease_is_renewed_four_times_as_often_as_it_must_be(
    redis: Redis, keep: Callable[[str], Keeper]
) -> None:
    keep("t1")
    renewed = ages_of(redis, "t1", 6)
    assert max(after - before for before, after in itertools.pairwise(renewed)) < LEASE_SECONDS / 2


async def test_acknowledgements_are_sent_without_a_claim(redis: Redis, keep: Callable[[str], Keeper]) -> None:
    keep("t1").ack("t1")
    await eventually(lambda: not redis.exists(*NAMES.held()), LEASE_SECONDS)


async def test_what_a_dead_holder_left_goes_back_with_a_loss(redis: Redis, keep: Callable[[str], Keeper]) -> None:
    redis.lpush("q", raw_message("orphan"))
    scripts.claim(redis, NAMES, [Source("q")], 1, LEASE_SECONDS)
    keep("t1")
    await eventually(lambda: redis.llen("q") == 1, LEASE_SECONDS * 1.25 + 1)
    assert headers_of(redis.lrange("q", 0, 0)[0])["x-losses"] == 1
    assert redis.hkeys("unacked") == [b"t1"]


async def test_a_process_that_hangs_loses_what_it_holds(
    redis: Redis, keep: Callable[[str], Keeper], caplog: pytest.LogCaptureFixture
) -> None:
    def seconds_since() -> float:
        return OPTIONS.hung_seconds + 1

    life.register("the pool", seconds_since)
    try:
        keep("t1")
        await eventually(lambda: redis.llen("q") == 1)
        said = [record.message for record in caplog.records if record.levelname == "CRITICAL"]
        assert said, "each keeper of the process says it, and another test's may still be about"
        assert all("the pool gave no sign of life" in words for words in said)
    finally:
        life.unregister(seconds_since)


async def test_a_process_that_ends_gives_back_all_that_it_holds(redis: Redis, keep: Callable[[str], Keeper]) -> None:
    before = set(threading.enumerate())
    keeper = keep("t1")
    keeper.detach()
    keeper.end()
    assert redis.llen("q") == 1
    assert headers_of(redis.lrange("q", 0, 0)[0]) == {"redelivered": True}
    await eventually(lambda: set(threading.enumerate()) <= before)
    keeper.attach()


async def test_nothing_is_forgotten_while_the_server_takes_no_writes(
    own_redis: Redis, own_valkey: RealValkey, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    own_redis.lpush("q", raw_message("t1"), raw_message("t2"))
    scripts.claim(own_redis, NAMES, [Source("q")], 2, LEASE_SECONDS)
    own_redis.replicaof("127.0.0.1", "1")
    keeper = Keeper(NAMES, OPTIONS, lambda: Redis.from_url(own_valkey.url()))
    keeper.attach()
    keeper.hold(["t1", "t2"])
    keeper.ack("t1")
    keeper.give_back(["t2"], front=True)
    await eventually(lambda: "leases can't be kept now" in caplog.text)
    assert own_redis.hlen("unacked") == 2
    own_redis.replicaof("NO", "ONE")
    await eventually(lambda: own_redis.hlen("unacked") == 0)
    assert own_redis.llen("q") == 1
    await eventually(lambda: "leases are kept again" in caplog.text)
    assert caplog.text.count("leases can't be kept now") == 1
    keeper.detach()


async def test_what_runs_stays_held_when_its_channel_closes_and_is_acknowledged_later(
    redis_url: str, redis: Redis
) -> None:
    redis.lpush("q", raw_message("runs"), raw_message("waits"))

    def runs() -> list[str]:
        return ["runs"]

    running.register(runs)
    try:
        with taking(redis_url, "q", lease_seconds=LEASE_SECONDS) as consumer:
            consumer.drain(until=2)
        await eventually(lambda: redis.llen("q") == 1)
        ages_of(redis, "runs", 5)
        assert redis.hkeys("unacked") == [b"runs"]
        consumer.messages[0].ack()
        await eventually(lambda: not redis.exists(*NAMES.held()))
        assert redis.llen("q") == 1
    finally:
        running.unregister(runs)


async def test_a_keeper_renews_before_all_else_when_its_server_is_back(
    own_redis: Redis, own_valkey: RealValkey
) -> None:
    own_redis.lpush("q", raw_message("t1"), raw_message("t2"))
    scripts.claim(own_redis, NAMES, [Source("q")], 2, LEASE_SECONDS)
    own_redis.replicaof("127.0.0.1", "1")  # it can be reached, and refuses whatever writes
    keeper = Keeper(NAMES, OPTIONS, lambda: Redis.from_url(own_valkey.url()))
    keeper.hold(["t1", "t2"])
    keeper.ack("t2")
    with own_redis.monitor() as monitor:  # type: ignore[no-untyped-call]
        keeper.attach()
        sent = scripts_in(monitor)
        assert next(sent) == "BEAT"
        Redis.from_url(own_valkey.url()).replicaof("NO", "ONE")
        before_restoring = list(itertools.takewhile(lambda name: name != "RESTORE", sent))
    assert before_restoring[-1] == "SETTLE"
    assert set(before_restoring[:-1]) <= {"BEAT"}
    keeper.detach()
