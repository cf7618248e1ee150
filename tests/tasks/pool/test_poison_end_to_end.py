from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.tasks.pool.hazard_worker import Client, hazard_workers, outcome
from tests.waiting import eventually

SUSPECT = {"x-losses": 2}


@pytest.fixture
def client(redis_url: str) -> Client:
    return Client(redis_url)


async def test_what_kills_its_worker_is_concluded_alone_and_its_neighbours_succeed(
    tmp_path: Path, redis_url: str, client: Client
) -> None:
    neighbours = [client.send("neighbour", 2) for _ in range(100)]  # each is killed with its worker twice
    killer = client.send("poison", 100)
    async with hazard_workers(tmp_path, redis_url) as workers:
        error = await outcome(killer, 60.0)
        assert type(error).__name__ == "WorkerLostError"
        answers = [await outcome(neighbour) for neighbour in neighbours]
        await eventually(client.nothing_is_left)
        assert workers.exit_codes == [-9, -9]
        worker_pid = workers.process.pid
    assert [int(answer.split()[0]) for answer in answers] == [2] * 100
    assert worker_pid not in {int(answer.split()[2]) for answer in answers}
    assert client.redis.lrange("mourned", 0, -1) == [f"{killer.id} -9"]
    starts = [line.split()[0] for line in client.redis.lrange("poisoned", 0, -1)]
    assert starts in (["0", "1", "2"], ["0", "1", "2", "2"])  # twice when a neighbour had had its process before


async def test_a_worker_and_what_it_runs_outlive_a_suspect(tmp_path: Path, redis_url: str, client: Client) -> None:
    async with hazard_workers(tmp_path, redis_url) as workers:
        bystander = client.send("gate", "it")
        await eventually(lambda: client.redis.llen("at-it"))
        killer = client.send("poison", headers=SUSPECT)
        assert "signal 9" in str(await outcome(killer))
        assert killer.state == "FAILURE"
        client.redis.set("open-it", 1)
        assert await outcome(bystander) == workers.process.pid
        assert not workers.exit_codes


async def test_a_suspect_is_concluded_though_celery_would_run_it_again_for_ever(
    tmp_path: Path, redis_url: str, client: Client
) -> None:
    async with hazard_workers(tmp_path, redis_url) as workers:
        error = await outcome(client.send("stubborn_poison", headers=SUSPECT))
        assert type(error).__name__ == "KilledAlone"
        await eventually(client.nothing_is_left)
        assert client.redis.get("stubborn") == "1"
        assert not workers.exit_codes


async def test_a_death_that_cannot_be_written_down_is_not_the_end(
    tmp_path: Path, redis_url: str, client: Client
) -> None:
    client.redis.set("mourning_fails", 1)
    async with hazard_workers(tmp_path, redis_url):
        killer = client.send("poison", headers=SUSPECT)
        await outcome(killer)
        assert client.redis.lrange("mourned", 0, -1) == [f"{killer.id} -9"] * 2
        assert [line.split()[0] for line in client.redis.lrange("poisoned", 0, -1)] == ["2", "2"]


async def test_nothing_is_concluded_when_the_worker_dies_and_not_its_lone_process(
    tmp_path: Path, redis_url: str, client: Client
) -> None:
    async with hazard_workers(tmp_path, redis_url) as workers:
        suspect = client.send("gate", "it", headers=SUSPECT)
        await eventually(lambda: client.redis.llen("at-it"))
        os.kill(workers.process.pid, 9)
        await eventually(lambda: client.redis.llen("at-it") == 2, 20.0)
        client.redis.set("open-it", 1)
        assert str(await outcome(suspect)) == client.redis.lindex("at-it", 1)
        assert suspect.successful()
