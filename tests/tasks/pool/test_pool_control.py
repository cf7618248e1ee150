"""Remote control: slots come and go, and `inspect` says what is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tasks.pool import pool_app, pool_lasting, pool_worker
from tests.tasks.pool.pool_base import read_notes
from tests.tasks.pool.pool_worker import PoolWorker, noted, until


def test_a_hundred_slots_are_the_default_and_the_prefetch_follows(worker: PoolWorker) -> None:
    stats = worker.inspect("stats")
    assert stats["pool"]["max-concurrency"] == 100
    assert stats["prefetch_count"] == 100
    assert stats["pool"]["implementation"] == "tasks.pool.pool:AsyncioPool"


def test_inspect_shows_what_runs(worker: PoolWorker) -> None:
    result = pool_lasting.sleeps.delay()
    noted(result, "begun")
    [active] = [task for task in worker.inspect("active") if task["id"] == result.id]
    assert active["worker_pid"]
    assert worker.inspect("stats")["pool"]["running"] >= 1
    result.revoke(terminate=True)


def test_the_pool_restarts(worker: PoolWorker) -> None:
    assert worker.control("pool_restart") == {"ok": "reload started"}
    assert pool_app.add.delay(1, 2).get(10) == 3


def test_slots_are_added_and_taken_away(tmp_path: Path) -> None:
    with pool_worker.running(tmp_path, "slots", "-c", "1") as worker:
        results = [pool_lasting.sleeps.apply_async(queue="slots") for _ in range(5)]
        noted(results[0], "begun")
        assert worker.control("pool_grow", n=2) == {"ok": "pool will grow"}
        until(lambda: sum(bool(read_notes(result.id)) for result in results) == 3)
        assert worker.inspect("stats")["pool"]["max-concurrency"] == 3
        assert worker.control("pool_shrink", n=2) == {"ok": "pool will shrink"}
        for result in [result for result in results if read_notes(result.id)][:2]:
            result.revoke(terminate=True)
        until(lambda: len(worker.inspect("active")) == 1)
        assert sum(bool(read_notes(result.id)) for result in results) == 3
        assert "error" in worker.control("pool_shrink", n=9)


def test_the_pool_scales_with_its_load(tmp_path: Path) -> None:
    with pool_worker.running(tmp_path, "scaled", "--autoscale", "6,2") as worker:
        assert worker.inspect("stats")["pool"]["max-concurrency"] == 2
        results = [pool_lasting.sleeps.apply_async(queue="scaled") for _ in range(6)]
        until(lambda: all(read_notes(result.id) for result in results))
        assert worker.inspect("stats")["pool"]["max-concurrency"] == 6


@pytest.mark.parametrize(("option", "slots"), [(["-c", "7"], 7)])
def test_a_given_number_of_slots_wins(tmp_path: Path, option: list[str], slots: int) -> None:
    with pool_worker.running(tmp_path, "given", *option) as worker:
        assert worker.inspect("stats")["pool"]["max-concurrency"] == slots
