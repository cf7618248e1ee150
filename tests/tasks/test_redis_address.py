from __future__ import annotations

import pytest
from redis.asyncio.sentinel import SentinelConnectionPool as AsyncPool
from redis.exceptions import ConnectionError as NotConnected
from redis.sentinel import SentinelConnectionPool

from tasks.redis_address import async_client, celery_options, celery_url, client

SENTINEL = "sentinel://moo:secret@127.0.0.1:1,127.0.0.1:2/3?master=harbour"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("redis://h:6379/3", "redis://h:6379/3"),
        ("rediss://:secret@h:6379/0?ssl_cert_reqs=required", "rediss://:secret@h:6379/0?ssl_cert_reqs=required"),
        ("unix:///run/valkey.sock?db=5", "redis+socket:///run/valkey.sock?virtual_host=5"),
        ("unix:///run/valkey.sock", "redis+socket:///run/valkey.sock?virtual_host=0"),
        ("sentinel://:secret@a:1,b/2?master=m", "sentinel://:secret@a:1/2;sentinel://:secret@b:26379/2"),
    ],
)
def test_an_address_is_spelt_as_kombu_reads_it(given: str, expected: str) -> None:
    assert celery_url(given) == expected


def test_only_sentinels_need_more_of_celery_than_a_url() -> None:
    assert celery_options("redis://h/1", 5.0) == celery_options("unix:///s", 5.0) == {}
    assert celery_options(SENTINEL, 5.0)["master_name"] == "harbour"


def test_a_thread_s_client_asks_the_sentinels_under_the_same_deadlines_as_a_server() -> None:
    opened = client(SENTINEL, 2.5)
    pool = opened.connection_pool
    assert isinstance(pool, SentinelConnectionPool)
    assert pool.service_name == "harbour"
    wanted = {"db": 3, "username": "moo", "password": "secret", "socket_timeout": 2.5, "socket_connect_timeout": 2.5}
    assert wanted.items() <= pool.connection_kwargs.items()
    for sentinel in pool.sentinel_manager.sentinels:
        asked = sentinel.connection_pool.connection_kwargs
        assert (asked["socket_timeout"], asked["socket_connect_timeout"], asked["password"]) == (2.5, 2.5, None)
    with pytest.raises(NotConnected):  # at once: nobody listens there
        opened.ping()
    opened.close()


async def test_a_coroutine_s_client_does_so_too() -> None:
    opened = async_client(SENTINEL, 2.5)
    pool = opened.connection_pool
    assert isinstance(pool, AsyncPool)
    wanted = {"db": 3, "username": "moo", "password": "secret", "socket_timeout": 2.5, "socket_connect_timeout": 2.5}
    assert wanted.items() <= pool.connection_kwargs.items()
    with pytest.raises(NotConnected):
        await opened.ping()
    await opened.aclose()


async def test_a_client_of_one_server_is_what_it_was(redis_url: str) -> None:
    opened, blocking = async_client(redis_url, 2.5), client(redis_url, 2.5)
    assert await opened.set("k", "v")
    assert blocking.get("k") == b"v"
    assert opened.connection_pool.connection_kwargs["socket_timeout"] == 2.5
    blocking.close()
    await opened.aclose()
