"""A server that restarts, forgets scripts, throws clients out, is full, or takes no writes."""

from __future__ import annotations

from pathlib import Path

import pytest
from kombu.exceptions import OperationalError
from redis.exceptions import OutOfMemoryError

from tests.weather.fleet import LOST, Ledger, nothing_left, send, worker
from tests.weather.generic_app import Setup
from tests.weather.servers import HOST, Server

RUNNING, LOAD = range(10), range(10, 1_500)
NOBODY_LISTENS = 1


@pytest.fixture
def setup(server: Server, ledger: Ledger) -> Setup:
    return Setup(broker=server.url(), ledger=ledger.url, options={"lease_seconds": 8})


@pytest.mark.slow
async def test_a_server_that_restarts_finds_its_workers_again(
    setup: Setup, server: Server, ledger: Ledger, folder: Path
) -> None:
    async with worker(setup, folder) as holder:
        await send(setup, RUNNING, gate="open")
        await ledger.have_started(RUNNING)
        await send(setup, LOAD)
        server.kill()
        await holder.says(LOST)
        server.start()
        await ledger.all_ran(LOAD)
        ledger.open_gate("open")
        await ledger.all_ran(RUNNING)
        await nothing_left(server)
    assert set(ledger.starts().values()) == {1}, "what ran through the restart stayed this worker's"


@pytest.mark.slow
async def test_a_server_that_forgets_its_scripts_is_told_them_again(
    setup: Setup, server: Server, ledger: Ledger, folder: Path
) -> None:
    async with worker(setup, folder):
        for number in range(5):
            await send(setup, range(number * 200, number * 200 + 200))
            server.client().script_flush()
        await ledger.all_ran(range(1_000))
        await nothing_left(server)
    assert set(ledger.runs().values()) == {1}


@pytest.mark.slow
async def test_workers_thrown_out_under_load_come_back(
    setup: Setup, server: Server, ledger: Ledger, folder: Path
) -> None:
    async with worker(setup, folder) as holder:
        for times in range(1, 4):
            tasks = range(times * 500, times * 500 + 500)
            await send(setup, tasks)
            server.client().client_kill_filter(_type="normal", skipme=True)
            await holder.says(LOST, times)
            await ledger.all_ran(tasks)
        await nothing_left(server)


@pytest.mark.slow
async def test_a_full_server_takes_no_new_work_and_what_it_has_is_done_all_the_same(
    setup: Setup, server: Server, ledger: Ledger, folder: Path
) -> None:
    async with worker(setup, folder) as first:
        await send(setup, RUNNING, gate="open")
        await ledger.have_started(RUNNING)
        first.kill()
    await send(setup, LOAD)
    server.client().config_set("maxmemory", "1")
    with pytest.raises((OutOfMemoryError, OperationalError)):
        await send(setup, [9_999], retry=False)
    async with worker(setup, folder):
        await ledger.have_started(RUNNING, times=2)
        ledger.open_gate("open")
        await ledger.all_ran([*LOAD, *RUNNING])
        await nothing_left(server)
        server.client().config_set("maxmemory", "0")
        await send(setup, [2_000])
        await ledger.all_ran([2_000])


@pytest.mark.slow
async def test_a_server_that_became_a_replica_is_worked_with_again_once_it_takes_writes(
    setup: Setup, server: Server, ledger: Ledger, folder: Path
) -> None:
    async with worker(setup, folder) as holder:
        await send(setup, RUNNING, gate="open")
        await ledger.have_started(RUNNING)
        await send(setup, LOAD)
        server.client().replicaof(HOST, NOBODY_LISTENS)
        await holder.says("read only")
        server.client().replicaof("no", "one")
        ledger.open_gate("open")
        await ledger.all_ran([*LOAD, *RUNNING])
        await nothing_left(server)


async def test_a_cluster_is_refused_at_once_with_a_sentence_that_says_why(ledger: Ledger, folder: Path) -> None:
    cluster = Server(folder / "cluster", cluster_enabled="yes")
    cluster.start()
    try:
        setup = Setup(broker=cluster.url(), ledger=ledger.url)
        async with worker(setup, folder, ready=False) as refused:
            await refused.says("Redis Cluster")
            assert await refused.ended() != 0
    finally:
        cluster.kill()
