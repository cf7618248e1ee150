from __future__ import annotations

import mmap
import os
from pathlib import Path

import pytest

from tasks.pool import recycling
from tasks.pool.memory import resident_kib
from tasks.pool.recycling import EXIT_CODE, LEAST_LIFE_SECONDS, Recycling
from tests.tasks.pool.hazard_worker import Client, hazard_workers, outcome
from tests.waiting import eventually


class Worker:
    """What the decision is made from, as the test likes it."""

    def __init__(self, *, max_tasks: int | None = None, max_memory_kib: int | None = None, held_kib: int = 50) -> None:
        self.now, self.held_kib, self.looks = 1_000.0, held_kib, 0
        self.reasons: list[str] = []
        self.recycling = Recycling(
            max_tasks=max_tasks,
            max_memory_kib=max_memory_kib,
            stop=self.reasons.append,
            clock=lambda: self.now,
            memory_kib=self._look,
        )

    def _look(self) -> int:
        self.looks += 1
        return self.held_kib

    def does(self, tasks: int, after_seconds: float = 0.0) -> None:
        self.now += after_seconds
        for _ in range(tasks):
            self.recycling.task_done()


def test_it_ends_once_after_its_share_of_tasks() -> None:
    worker = Worker(max_tasks=10)
    worker.does(9, after_seconds=LEAST_LIFE_SECONDS)
    assert not worker.reasons
    worker.does(5)
    assert worker.reasons == ["10 tasks are done, and 10 are enough"]


def test_it_ends_when_it_holds_too_much() -> None:
    worker = Worker(max_memory_kib=100)
    worker.does(1, after_seconds=LEAST_LIFE_SECONDS)
    worker.held_kib = 101
    worker.does(1, after_seconds=1.0)
    assert worker.reasons == ["it holds 101 KiB, and 100 are enough"]


def test_it_looks_at_its_memory_once_a_second_at_most() -> None:
    worker = Worker(max_memory_kib=100)
    worker.does(10_000, after_seconds=LEAST_LIFE_SECONDS)
    worker.does(10_000, after_seconds=0.9)
    worker.does(10_000, after_seconds=0.1)
    assert worker.looks == 1 + 2  # when it started, and since


def test_it_does_some_work_before_it_ends() -> None:
    worker = Worker(max_tasks=1, max_memory_kib=100)
    worker.held_kib = 1_000
    worker.does(10_000, after_seconds=LEAST_LIFE_SECONDS - 1)
    assert not worker.reasons
    worker.does(1, after_seconds=1)
    assert worker.reasons


def test_a_limit_that_it_exceeds_from_the_start_is_said_and_not_heeded(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(recycling.log, "propagate", True)
    worker = Worker(max_memory_kib=100, held_kib=150)
    worker.does(10_000, after_seconds=10_000)
    assert not worker.reasons
    assert "A memory limit of 100 KiB is ignored: the worker starts with 150 KiB" in caplog.text


def test_without_limits_it_never_ends_nor_looks() -> None:
    worker = Worker()
    worker.does(10_000, after_seconds=10_000)
    assert not worker.reasons
    assert not worker.looks


def test_memory_is_told_of_this_process_and_of_others() -> None:
    before_kib = resident_kib()
    with mmap.mmap(-1, 50_000_000) as held:  # memory that malloc cannot have had before
        for offset in range(0, len(held), mmap.PAGESIZE):
            held[offset] = 1
        assert resident_kib() - before_kib > 40_000
    assert resident_kib(os.getppid()) > 0
    assert resident_kib(2**22 + 1) == 0


async def test_a_worker_that_recycles_itself_under_load_loses_nothing_and_repeats_nothing(
    tmp_path: Path, redis_url: str
) -> None:
    client = Client(redis_url)
    options = {"HAZARD_MAX_TASKS": "150", "HAZARD_LEAST_LIFE_SECONDS": "0"}
    for number in range(500):
        client.send("count", number, ignore_result=True)
    async with hazard_workers(tmp_path, redis_url, **options) as workers:
        await eventually(lambda: client.redis.llen("counted") >= 500 and client.nothing_is_left(), 60.0)
        assert sorted(map(int, client.redis.lrange("counted", 0, -1))) == list(range(500))
        assert 1 <= len(workers.exit_codes) <= 3
        assert set(workers.exit_codes) == {EXIT_CODE}
        said = [log.read_text() for log in tmp_path.glob("w*.log")]
        assert any("The worker recycles itself: " in text and "150 are enough" in text for text in said)


async def test_what_outlasts_the_grace_is_handed_back_and_not_counted_as_lost(tmp_path: Path, redis_url: str) -> None:
    client = Client(redis_url)
    options = {"HAZARD_MAX_TASKS": "3", "HAZARD_LEAST_LIFE_SECONDS": "0", "HAZARD_GRACE_SECONDS": "0.2"}
    async with hazard_workers(tmp_path, redis_url, **options) as workers:
        lasting = client.send("long")
        await eventually(lambda: client.redis.exists("long-starts"))
        for number in range(3):
            client.send("count", number)
        assert await outcome(lasting) == "handed back after 0 losses"
        assert workers.exit_codes == [EXIT_CODE]
