from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis

from tasks.catalog.tasks import TaskError, TaskRow
from tasks.errors import RecordsUnavailable
from tasks.parts import connect
from tasks.records import UNFINISHED_TTL_SECONDS, Record, Records, from_row, owner_key, rank, record_key
from tests.real_valkey import RealValkey

TTL_SECONDS = 3_600.0


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client = connect(redis_url)
    yield client
    await client.aclose()


@pytest.fixture
def records(redis: Redis) -> Records:
    return Records(redis, TTL_SECONDS)


def record(**different: Any) -> Record:
    usual: dict[str, Any] = {"task_id": "t", "owner": "ann", "actor": "add", "queue": "upkeep"}
    return Record(**usual | {"durable": False, "created_at": 100.0} | different)


async def commands_called(redis: Redis, command: str) -> int:
    statistics: dict[str, Any] = await redis.info("commandstats")
    return int(statistics.get(f"cmdstat_{command}", {}).get("calls", 0))


async def stage(redis: Redis, records: Records, *staged: Record) -> None:
    pipeline = redis.pipeline(transaction=True)
    for one in staged:
        records.stage(pipeline, one)
    await pipeline.execute()


LIFE = [
    record(state="PENDING"),
    record(state="STARTED", starts=1),
    record(state="PROGRESS", starts=1),
    record(state="RETRY", starts=1, attempt=1),
    record(state="STARTED", starts=2, attempt=1),
    record(state="PROGRESS", starts=2, attempt=1),
    record(state="PENDING", starts=2, attempt=1),
    record(state="STARTED", starts=3, attempt=1),
    record(state="SUCCESS", starts=3, attempt=1),
]
"""A task that fails once, is handed back once, and succeeds."""


def test_each_step_of_a_task_ranks_above_the_one_before() -> None:
    assert all(rank(before) < rank(after) for before, after in pairwise(LIFE))


async def test_a_record_comes_back_as_it_was_written(records: Records) -> None:
    error = TaskError("DiskFull", "the data volume is full")
    written = record(state="FAILURE", error=error, result={"a": [1, None]}, progress=41.5, message="ümlaut", starts=2)
    assert await records.write(written)
    assert await records.get("t") == msgspec.structs.replace(written, rank=rank(written))
    assert await records.get("never given") is None


@pytest.mark.parametrize("late", range(len(LIFE) - 1), ids=lambda late: f"{LIFE[late].state}-{LIFE[late].starts}")
async def test_what_comes_late_never_hides_what_is_further_on(records: Records, late: int) -> None:
    for further in LIFE[late + 1 :]:
        assert await records.write(further)
        assert not await records.write(LIFE[late])
        found = await records.get("t")
        assert found is not None
        assert (found.state, found.starts) == (further.state, further.starts)


async def test_writers_that_come_together_share_a_round_trip_and_each_hears_of_its_own(
    redis: Redis, records: Records
) -> None:
    await records.write(record(task_id="t1", state="SUCCESS", starts=1))
    before = await commands_called(redis, "evalsha")
    late = (record(task_id=f"t{number}", state="PROGRESS", starts=1, progress=5.0) for number in range(3))
    assert await asyncio.gather(*(records.write(one) for one in late)) == [True, False, True]
    assert await commands_called(redis, "evalsha") - before == 1
    assert [found and found.state for found in await records.get_many(["t0", "t1", "t2"])] == [
        "PROGRESS",
        "SUCCESS",
        "PROGRESS",
    ]


async def test_a_result_that_looks_like_a_rank_is_not_one(records: Records) -> None:
    spoofed = record(state="PROGRESS", starts=1, message='"rank":9999999999999}')
    assert await records.write(spoofed)
    assert await records.write(record(state="SUCCESS", starts=1))


@pytest.mark.parametrize("there", [None, record(), b"not a record"])
async def test_a_first_start_is_written_without_a_look_at_what_was_there(
    redis: Redis, records: Records, there: Record | bytes | None
) -> None:
    if isinstance(there, Record):
        await stage(redis, records, there)
    elif there is not None:
        await redis.set(record_key("t"), there)
    assert await records.begin(record(state="STARTED", starts=1)) is None
    found = await records.get("t")
    assert found is not None
    assert found.state == "STARTED"
    assert 0 < await redis.ttl(record_key("t")) <= TTL_SECONDS


@pytest.mark.parametrize("there", LIFE[1:], ids=lambda one: f"{one.state}-{one.starts}")
async def test_a_later_start_is_told_what_is_there(records: Records, there: Record) -> None:
    await records.write(there)
    found, fresh = await asyncio.gather(
        records.begin(record(state="STARTED", starts=1)), records.begin(record(task_id="u", state="STARTED", starts=1))
    )
    assert fresh is None
    assert found == msgspec.structs.replace(there, rank=rank(there))
    assert await records.get("t") == found, "and it is left as it was"


async def test_progress_follows_progress(records: Records) -> None:
    for percent in (10.0, 20.0, 15.0):
        assert await records.write(record(state="PROGRESS", starts=1, progress=percent))
    found = await records.get("t")
    assert found is not None
    assert found.progress == 15.0, "the last word of one run is the last word"


@pytest.mark.parametrize("there", [b"", b"not JSON", b"7", b"[]", b"{}", b'{"rank": "high"}', b"\xff\xfe"])
async def test_what_cannot_be_read_counts_as_gone(redis: Redis, records: Records, there: bytes) -> None:
    await redis.set(record_key("t"), there)
    async with asyncio.timeout(5):
        assert await records.get("t") is None
        assert await records.get_many(["t", "u"]) == [None, None]
        assert await records.write(record()), "and is replaced"
        assert await records.get("t") is not None


@pytest.mark.parametrize(
    ("state", "durable", "ttl_seconds"),
    [
        ("PENDING", False, TTL_SECONDS),
        ("PROGRESS", False, TTL_SECONDS),
        ("PENDING", True, UNFINISHED_TTL_SECONDS),
        ("PROGRESS", True, UNFINISHED_TTL_SECONDS),
        ("SUCCESS", True, TTL_SECONDS),
    ],
)
async def test_a_view_of_the_catalog_lives_a_minute_and_all_else_as_long_as_the_settings_say(
    redis: Redis, records: Records, state: Any, durable: bool, ttl_seconds: float
) -> None:
    await records.write(record(state=state, durable=durable))
    assert ttl_seconds - 30 < await redis.ttl(record_key("t")) <= ttl_seconds


async def test_a_lifetime_below_a_second_is_a_lifetime(redis: Redis) -> None:
    fleeting = Records(redis, 0.9)
    await stage(redis, fleeting, record())
    assert 0 < await redis.pttl(record_key("t")) <= 900
    assert 0 < await redis.pttl(owner_key("ann")) <= 900


async def test_staging_keeps_a_record_that_is_already_there(redis: Redis, records: Records) -> None:
    await records.write(record(state="PROGRESS", starts=1, progress=50.0))
    await stage(redis, records, record(), record(task_id="new"))
    kept, new = await records.get_many(["t", "new"])
    assert kept is not None
    assert new is not None
    assert (kept.progress, new.state) == (50.0, "PENDING")


async def test_readers_that_come_together_share_a_round_trip(redis: Redis, records: Records) -> None:
    for number in range(5):
        await records.write(record(task_id=f"t{number}", progress=float(number)))
    before = await commands_called(redis, "mget")
    answers = await asyncio.gather(*(records.get(f"t{number % 6}") for number in range(300)))
    assert await commands_called(redis, "mget") - before == 1
    assert [answer.progress if answer else None for answer in answers[:6]] == [0.0, 1.0, 2.0, 3.0, 4.0, None]


async def test_who_asks_later_gets_what_was_written_meanwhile(records: Records) -> None:
    for percent in range(50):
        await records.write(record(state="PROGRESS", starts=1, progress=float(percent)))
        found, again = await asyncio.gather(records.get("t"), records.get("t"))
        assert found is not None
        assert found.progress == percent
        assert found == again


async def test_a_reader_that_leaves_disturbs_nobody(records: Records) -> None:
    await records.write(record())
    readers = [asyncio.create_task(records.get("t")) for _ in range(10)]
    await asyncio.sleep(0)
    for leaving in readers[::2]:
        leaving.cancel()
    answers = await asyncio.gather(*readers, return_exceptions=True)
    assert all(isinstance(left, asyncio.CancelledError) for left in answers[::2])
    assert all(isinstance(stayed, Record) for stayed in answers[1::2])


async def test_without_a_server_every_call_says_so_and_with_it_all_is_well_again(own_valkey: RealValkey) -> None:
    redis = connect(own_valkey.url())
    records = Records(redis, TTL_SECONDS)
    assert await records.write(record())
    own_valkey.kill()
    calls: list[Callable[[], Any]] = [
        lambda: records.get("t"),
        lambda: records.get_many(["t"]),
        lambda: records.write(record()),
        lambda: records.begin(record(state="STARTED", starts=1)),
        lambda: records.owned("ann", None, lambda _: True, 10),
    ]
    for call in calls:
        with pytest.raises(RecordsUnavailable):
            await call()
    with pytest.raises(RecordsUnavailable):
        await asyncio.gather(*(records.get("t") for _ in range(10)))
    own_valkey.start()
    assert await records.get("t") is None
    assert await records.write(record())
    assert await records.get("t") is not None
    await redis.aclose()


async def test_an_owner_lists_own_tasks_only_the_newest_first(redis: Redis, records: Records) -> None:
    await stage(redis, records, *(record(task_id=f"t{second}", created_at=float(second)) for second in (1, 3, 2)))
    await stage(redis, records, record(task_id="bob's", owner="bob", created_at=9.0))
    await stage(redis, records, record(task_id="durable", durable=True, created_at=9.0))

    async def listed(before: float | None = None, limit: int = 10, hidden: str = "") -> list[str]:
        found = await records.owned("ann", before, lambda one: one.task_id != hidden, limit)
        return [one.task_id for one in found]

    assert await listed() == ["t3", "t2", "t1"]
    assert await listed(before=3.0) == ["t2", "t1"]
    assert await listed(limit=2) == ["t3", "t2"]
    assert await listed(hidden="t3", limit=2) == ["t2", "t1"]
    await redis.delete(record_key("t2"))
    assert await listed() == ["t3", "t1"]


async def test_an_owner_s_list_does_not_grow_without_end(
    redis: Redis, records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.records.KEPT_PER_OWNER", 3)
    await stage(redis, records, *(record(task_id=f"t{second}", created_at=float(second)) for second in range(6)))
    found = await records.owned("ann", None, lambda _: True, 10)
    assert [one.task_id for one in found] == ["t5", "t4", "t3"]


def test_a_row_shows_as_the_record_of_its_state(new_row: Callable[..., TaskRow]) -> None:
    done = from_row(new_row(state="SUCCESS", result=7, starts=2, attempt=1, started_at=1.0, finished_at=2.0))
    assert (done.durable, done.progress, done.result, done.starts, done.attempt) == (True, 100.0, 7, 2, 1)
    assert (done.started_at, done.finished_at, done.finished) == (1.0, 2.0, True)
    assert from_row(new_row()).progress == 0.0
