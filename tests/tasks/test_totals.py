from __future__ import annotations

import pytest
from redis.exceptions import RedisError

from tasks.errors import RecordsUnavailable
from tasks.parts import Parts, connect
from tasks.totals import TotalsStore, read_totals
from tests.real_valkey import RealValkey


async def test_what_several_processes_count_adds_up(parts: Parts) -> None:
    one, other = TotalsStore.connect(parts.settings.redis_url), TotalsStore.connect(parts.settings.redis_url)
    one.add({"sent": 2, "bytes": 0.5})
    other.add({"sent": 3})
    one.add({})
    assert await read_totals(parts.redis) == {"sent": 5.0, "bytes": 0.5}
    one.close()
    other.close()


async def test_nothing_counted_is_nothing(parts: Parts) -> None:
    assert await read_totals(parts.redis) == {}


async def test_without_a_server_both_sides_are_told(own_valkey: RealValkey) -> None:
    store, redis = TotalsStore.connect(own_valkey.url()), connect(own_valkey.url())
    store.add({"sent": 1})
    own_valkey.kill()
    with pytest.raises(RedisError):
        store.add({"sent": 1})
    with pytest.raises(RecordsUnavailable):
        await read_totals(redis)
    own_valkey.start()
    store.add({"sent": 1})
    assert await read_totals(redis) == {"sent": 1.0}
    store.close()
    await redis.aclose()
