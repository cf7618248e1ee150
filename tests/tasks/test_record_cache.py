from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from tasks.errors import RecordsUnavailable
from tasks.parts import connect
from tasks.record_cache import RecordCache
from tasks.records import Record, Records
from tests.real_valkey import RealValkey
from tests.waiting import eventually


@pytest.fixture
async def redis(own_valkey: RealValkey) -> AsyncIterator[Redis]:
    client = connect(own_valkey.url())
    yield client
    await client.aclose()


@pytest.fixture
def records(redis: Redis) -> Records:
    return Records(redis, 3_600.0)


@pytest.fixture
async def cache(redis: Redis, records: Records) -> AsyncIterator[RecordCache]:
    opened = RecordCache(redis, records)
    yield opened
    await opened.close()


def record(task_id: str = "t", **different: Any) -> Record:
    usual: dict[str, Any] = {"owner": "ann", "actor": "add", "queue": "upkeep", "durable": False, "created_at": 1.0}
    return Record(task_id=task_id, **usual | different)


async def reads(redis: Redis) -> int:
    statistics: dict[str, Any] = await redis.info("commandstats")
    return int(statistics.get("cmdstat_mget", {}).get("calls", 0))


async def test_a_record_that_was_read_is_not_asked_for_again(
    cache: RecordCache, records: Records, redis: Redis
) -> None:
    await records.write(record())
    first = await cache.get("t")
    assert first is not None
    before = await reads(redis)
    assert [await cache.get("t") for _ in range(50)] == [first] * 50
    assert await reads(redis) == before


async def test_readers_of_many_records_share_a_round_trip(cache: RecordCache, records: Records, redis: Redis) -> None:
    for number in range(20):
        await records.write(record(str(number)))
    await cache.get("none")  # the connection is there now
    before = await reads(redis)
    found = await asyncio.gather(*(cache.get(str(number % 20)) for number in range(200)))
    assert [one.task_id for one in found if one] == [str(number % 20) for number in range(200)]
    assert await reads(redis) - before <= 2


async def test_every_change_is_seen(cache: RecordCache, records: Records) -> None:
    for percent in range(1, 30):
        await records.write(record(state="PROGRESS", starts=1, progress=float(percent)))

        async def shows(expected: float = float(percent)) -> bool:
            seen = await cache.get("t")
            return seen is not None and seen.progress == expected

        await eventually(shows, deadline_seconds=1.0)


async def test_a_change_that_comes_while_a_record_is_read_is_not_missed(cache: RecordCache, records: Records) -> None:
    async def write() -> None:
        for percent in range(300):
            await records.write(record(state="PROGRESS", starts=1, progress=percent / 3))
        await records.write(record(state="SUCCESS", starts=1, progress=100.0))

    writing = asyncio.create_task(write())
    while not writing.done():
        await cache.get("t")
        await asyncio.sleep(0)  # an answer from memory leaves the loop to nobody else
    await writing

    async def done() -> bool:
        seen = await cache.get("t")
        return seen is not None and seen.finished

    await eventually(done, deadline_seconds=1.0)


async def test_what_the_server_forgets_is_forgotten(cache: RecordCache, records: Records, redis: Redis) -> None:
    await records.write(record())
    await Records(redis, 0.2).write(record("brief"))
    assert await cache.get("brief")

    async def gone(task_id: str) -> bool:
        return await cache.get(task_id) is None

    await eventually(lambda: gone("brief"))
    assert await cache.get("t")
    await redis.flushdb()
    await eventually(lambda: gone("t"), deadline_seconds=1.0)


async def test_a_record_nobody_has_written_is_asked_for_each_time(cache: RecordCache, records: Records) -> None:
    assert await cache.get("t") is None
    await records.write(record())
    assert await cache.get("t")


async def test_nothing_is_told_from_memory_once_the_server_is_gone(
    cache: RecordCache, records: Records, own_valkey: RealValkey
) -> None:
    await records.write(record(progress=1.0))
    assert await cache.get("t")
    own_valkey.kill()

    async def refused() -> bool:
        try:
            await cache.get("t")
        except RecordsUnavailable:
            return True
        return False

    await eventually(refused, deadline_seconds=2.0)
    own_valkey.start()
    await records.write(record(progress=2.0))

    async def back() -> bool:
        seen = await cache.get("t")
        return seen is not None and seen.progress == 2.0

    await eventually(back)


async def test_a_reader_that_leaves_disturbs_no_other(cache: RecordCache, records: Records) -> None:
    await records.write(record())
    await records.write(record("u"))
    leaving, staying = asyncio.create_task(cache.get("t")), asyncio.create_task(cache.get("u"))
    await asyncio.sleep(0)
    leaving.cancel()
    stayed = await staying
    assert stayed is not None
    assert stayed.task_id == "u"


async def test_a_server_that_refuses_tracking_is_asked_each_time(own_valkey: RealValkey, records: Records) -> None:
    admin = connect(own_valkey.url())
    allowed = ["+@all", "-client|tracking"]
    await admin.acl_setuser("plain", enabled=True, passwords=["+secret"], keys=["*"], commands=allowed)
    plain = connect(own_valkey.url().replace("unix://", "unix://plain:secret@"))
    cache = RecordCache(plain, Records(plain, 3_600.0))
    try:
        await records.write(record(progress=1.0))
        assert await cache.get("t")
        await records.write(record(progress=2.0))
        seen = await cache.get("t")
        assert seen is not None
        assert seen.progress == 2.0
    finally:
        await cache.close()
        await plain.aclose()
        await admin.aclose()


async def test_memory_is_bounded(cache: RecordCache, records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.record_cache.MOST_RECORDS", 10)
    for number in range(40):
        await records.write(record(str(number)))
        assert await cache.get(str(number))
    assert len(cache._known) <= 11
