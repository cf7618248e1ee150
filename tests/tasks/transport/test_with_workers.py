"""Real workers: ours and stock ones, on the same queues, both ways, killed and stopped."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from tests.tasks.transport.publishers import send
from tests.tasks.transport.small_worker import diary_of, small_worker
from tests.tasks.transport.wire import USUAL_BODY, raw_message
from tests.waiting import eventually

LEASE_SECONDS = 1.0
SOLO = pytest.param("solo", 1, marks=pytest.mark.slow)


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    with Redis.from_url(redis_url) as connected:
        yield connected


def nothing_is_left(redis: Redis) -> bool:
    return not redis.exists("first", "second", "first.delayed", "second.delayed", "unacked", "unacked_index")


@pytest.mark.parametrize(("pool", "concurrency"), [SOLO, ("threads", 4), ("prefork", 2)])
async def test_each_pool_does_what_either_kind_of_publisher_sends(
    tmp_path: Path, redis_url: str, redis: Redis, pool: str, concurrency: int
) -> None:
    words = [f"{kind}{number}" for kind in ("ours", "stock") for number in range(20)]
    async with small_worker(tmp_path, redis_url, pool=pool, concurrency=concurrency) as worker:
        for number, word in enumerate(words):
            send(redis_url, "note", word, lossless=word.startswith("ours"), queue=("first", "second")[number % 2])
        send(redis_url, "note_at_third_try", "third")
        assert sorted(await diary_of(redis, "third", *words)) == sorted(["third", *words])
        await eventually(lambda: nothing_is_left(redis))
        assert await worker.stop() == 0


@pytest.mark.parametrize("lossless", [True, False], ids=["our-publisher", "stock-publisher"])
async def test_a_delayed_task_waits_in_the_broker_and_runs_when_it_is_due(
    tmp_path: Path, redis_url: str, redis: Redis, lossless: bool
) -> None:
    async with small_worker(tmp_path, redis_url) as worker:
        due_at = time.time() + 1.5
        send(redis_url, "note", "soon", lossless=lossless, countdown=1.5)
        await eventually(lambda: redis.zcard("first.delayed") == 1)
        assert redis.exists("unacked") == 0
        await diary_of(redis, "soon")
        assert due_at <= time.time() < due_at + 1.0
        assert worker.log().count("received") == 1


async def test_a_stock_worker_does_what_our_publisher_sends(tmp_path: Path, redis_url: str, redis: Redis) -> None:
    async with small_worker(tmp_path, redis_url, TEST_TRANSPORT="stock"):
        send(redis_url, "note", "hello", priority=9)
        await diary_of(redis, "hello")


def odd_messages() -> list[bytes]:
    """Tasks whose headers or bodies have types that Celery does not expect."""
    task: dict[str, Any] = {"id": "odd", "task": "tests.tasks.transport.small_app.note", "lang": "py"}
    headers: list[dict[str, Any]] = [{"eta": {}}, {"expires": {}}, {"id": [1]}, {"task": {}}, {"stamped_headers": 5}]
    bodies = [b"null", b"[]", b"5"]
    return [
        *(raw_message(queue="first", **task | odd) for odd in headers),
        *(raw_message(queue="first", body=body, **task) for body in bodies),
        raw_message(queue="first", **task).replace(USUAL_BODY, b"%%%"),
    ]


async def test_a_task_that_celery_cannot_make_out_is_put_aside_and_the_worker_goes_on(
    tmp_path: Path, redis_url: str, redis: Redis
) -> None:
    async with small_worker(tmp_path, redis_url) as worker:
        odd = odd_messages()
        for raw in odd:
            redis.lpush("first", raw)
        send(redis_url, "note", "fine")
        await diary_of(redis, "fine")
        await eventually(lambda: nothing_is_left(redis))
        assert sorted(redis.lrange("first.malformed", 0, -1)) == sorted(odd)
        assert await worker.stop() == 0


async def test_stock_workers_never_see_what_is_not_due(tmp_path: Path, redis_url: str, redis: Redis) -> None:
    async with small_worker(tmp_path, redis_url, TEST_TRANSPORT="stock") as stock, small_worker(tmp_path, redis_url):
        send(redis_url, "note", "soon", countdown=1.0)
        send(redis_url, "note", "now", queue="second")
        await diary_of(redis, "now")
        assert redis.zcard("first.delayed") == 1
        await diary_of(redis, "soon")
        assert "soon" not in stock.log()


async def test_what_a_killed_worker_held_is_done_by_another_in_time(
    tmp_path: Path, redis_url: str, redis: Redis
) -> None:
    async with small_worker(tmp_path, redis_url, "-Q", "first"):
        async with small_worker(tmp_path, redis_url, "-Q", "second") as second:
            send(redis_url, "kill_first_holder", "it", queue="second")
            await eventually(lambda: second.process.poll() is not None)
            killed_at = time.monotonic()
            await eventually(lambda: redis.llen("second") == 1)
            assert time.monotonic() - killed_at < LEASE_SECONDS * 1.25 + 1
        async with small_worker(tmp_path, redis_url, "-Q", "second"):
            await diary_of(redis, "it after 1")


@pytest.mark.parametrize("pool", ["solo", pytest.param("threads", marks=pytest.mark.slow)])
async def test_a_task_longer_than_its_lease_runs_once(tmp_path: Path, redis_url: str, redis: Redis, pool: str) -> None:
    async with small_worker(tmp_path, redis_url, pool=pool), small_worker(tmp_path, redis_url):
        send(redis_url, "note_slowly", "long", 3 * LEASE_SECONDS)
        await diary_of(redis, "long")
        await eventually(lambda: nothing_is_left(redis))
        assert redis.lrange("begun", 0, -1) == [b"long"]


async def test_a_task_whose_connections_are_killed_runs_once(tmp_path: Path, redis_url: str, redis: Redis) -> None:
    async with small_worker(tmp_path, redis_url, pool="threads", concurrency=2) as worker:
        send(redis_url, "note_slowly", "long", 2 * LEASE_SECONDS)
        await eventually(lambda: redis.llen("begun") == 1)
        for client in redis.client_list():
            if client["id"] != str(redis.client_id()):
                redis.client_kill_filter(_id=client["id"])
        send(redis_url, "note", "after")
        await diary_of(redis, "long", "after")
        await eventually(lambda: nothing_is_left(redis))
        assert redis.lrange("begun", 0, -1) == [b"long"]
        assert await worker.stop() == 0


async def test_a_warm_shutdown_finishes_what_runs_and_gives_the_rest_back(
    tmp_path: Path, redis_url: str, redis: Redis
) -> None:
    async with small_worker(tmp_path, redis_url, pool="threads", concurrency=1) as worker:
        for number in range(6):
            send(redis_url, "note_slowly", f"t{number}", 0.7)
        await eventually(lambda: redis.hlen("unacked") >= 4)
        assert await worker.stop() == 0
    done, waiting = redis.llen("diary"), redis.llen("first")
    assert done + waiting == 6
    assert done >= 1
    assert redis.exists("unacked", "unacked_index") == 0


async def test_a_cold_shutdown_gives_back_at_once_what_runs(tmp_path: Path, redis_url: str, redis: Redis) -> None:
    async with small_worker(tmp_path, redis_url, pool="prefork", concurrency=1) as worker:
        send(redis_url, "note_slowly", "long", 60)
        await eventually(lambda: redis.llen("begun") == 1)
        await worker.stop(signal.SIGQUIT)
    assert redis.llen("first") == 1
    assert redis.exists("unacked", "unacked_index") == 0


async def test_a_key_prefix_is_put_before_every_key(tmp_path: Path, redis_url: str, redis: Redis) -> None:
    async with small_worker(tmp_path, redis_url, TEST_PREFIX="mine:"):
        send(redis_url, "note", "now", prefix="mine:")
        send(redis_url, "note", "soon", prefix="mine:", countdown=0.5)
        await diary_of(redis, "now", "soon")
        keys = {key for key in redis.scan_iter() if isinstance(key, bytes)}
        assert {key for key in keys if not key.startswith(b"mine:")} == {b"diary"}
