"""Tasks that take ten times as long as a lease lasts, beside a second worker that would gladly take them."""

from __future__ import annotations

from pathlib import Path

import pytest
from redis.asyncio import Redis

from tests.chaos.effects import Effects
from tests.chaos.engines import LEASE_SECONDS, OURS
from tests.chaos.fleet import Place
from tests.chaos.publisher import QUEUE, wire
from tests.real_valkey import RealValkey
from tests.waiting import eventually

LONG_SECONDS = 30.0
ON_LOOP, IN_THREAD = 1, 2


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_a_task_of_thirty_seconds_runs_once_though_its_lease_is_three(
    own_valkey: RealValkey, tmp_path: Path
) -> None:
    assert LEASE_SECONDS == 3.0
    effects = Effects(tmp_path / "effects")
    broker_url = own_valkey.url().replace("unix://", "redis+socket://").replace("?db=", "?virtual_host=")
    places = [Place(OURS, broker_url, effects, lambda: True, tmp_path / "log") for _ in range(2)]
    try:
        async with Redis.from_url(own_valkey.url()) as redis:
            for place in places:
                place.begin()
            await redis.lpush(QUEUE, wire("linger_async", [ON_LOOP, LONG_SECONDS]))
            await redis.lpush(QUEUE, wire("linger", [IN_THREAD, LONG_SECONDS]))

            async def begun() -> bool:
                effects.read()
                return set(effects.runs) == {ON_LOOP, IN_THREAD}

            async def acknowledged() -> bool:
                return not await redis.exists(QUEUE, "unacked", "unacked_index")

            await eventually(begun, 60.0)
            await eventually(acknowledged, LONG_SECONDS + 15.0)
    finally:
        for place in places:
            place.end()
    effects.read()
    assert effects.runs == {ON_LOOP: 1, IN_THREAD: 1}
