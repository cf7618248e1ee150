"""Servers for the transport's tests, and the names of keys on them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis import Redis

from tasks.transport.names import Names
from tests.real_valkey import RealValkey


@pytest.fixture
def own_redis(own_valkey: RealValkey) -> Iterator[Redis]:
    """A client of a server that is this test's own, to be set up as it likes."""
    with Redis.from_url(own_valkey.url()) as connected:
        yield connected


@pytest.fixture
def client(redis_url: str) -> Iterator[Redis]:
    """A client of this test's database."""
    with Redis.from_url(redis_url) as connected:
        yield connected


@pytest.fixture(params=["", "pre:"], ids=["bare", "prefixed"])
def names(request: pytest.FixtureRequest) -> Names:
    """The keys without and with a prefix before them."""
    return Names(prefix=request.param)
