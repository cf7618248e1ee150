"""Servers for the transport's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis import Redis

from tests.real_valkey import RealValkey


@pytest.fixture
def own_redis(own_valkey: RealValkey) -> Iterator[Redis]:
    """A client of a server that is this test's own, to be set up as it likes."""
    with Redis.from_url(own_valkey.url()) as connected:
        yield connected
