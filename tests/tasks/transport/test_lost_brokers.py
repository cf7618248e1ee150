"""A broker that goes away under working workers, and comes back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from tests.real_valkey import RealValkey
from tests.tasks.transport.publishers import send
from tests.tasks.transport.small_worker import diary_of, small_worker
from tests.waiting import eventually

SOLO = pytest.param("solo", 1, marks=pytest.mark.slow)
THREADS = pytest.param("threads", 2, marks=pytest.mark.slow)


@pytest.fixture
def diary(redis_url: str) -> Iterator[Redis]:
    """Where tasks write to while their broker is away."""
    with Redis.from_url(redis_url) as connected:
        yield connected


@pytest.mark.parametrize(("pool", "concurrency"), [SOLO, THREADS, ("prefork", 2)])
async def test_a_busy_worker_outlives_its_broker(
    tmp_path: Path, own_valkey: RealValkey, redis_url: str, diary: Redis, pool: str, concurrency: int
) -> None:
    broker = own_valkey.url()
    async with small_worker(tmp_path, broker, pool=pool, concurrency=concurrency, TEST_DIARY=redis_url) as worker:
        for number in range(6):
            send(broker, "note_slowly", f"before{number}", 1.0)
        await eventually(lambda: diary.llen("begun") == concurrency)
        own_valkey.kill()
        await diary_of(diary, "before0")
        await eventually(lambda: "Trying to re-establish" in worker.log() or "Trying again" in worker.log())
        own_valkey.start()
        await eventually(lambda: worker.log().count("Connected to") == 2, 20)
        send(broker, "note", "after")
        await diary_of(diary, "after")
        await eventually(lambda: not Redis.from_url(broker).exists("unacked", "unacked_index", "first"))
        assert "Traceback" not in worker.log()
        assert await worker.stop() == 0
