"""Connections that end, that never come up, and that look alive while nothing passes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.waiting import eventually
from tests.weather.fleet import LOST, Ledger, nothing_left, send, worker
from tests.weather.generic_app import Setup
from tests.weather.proxy import Cable, laid_to
from tests.weather.servers import HOST, Server

RUNNING, WAITING, LATER = range(10), range(10, 300), range(300, 310)


def through(cable: Cable, ledger: Ledger) -> Setup:
    """A worker at the far end of the cable. Its leases outlast the outages here, so that nothing needs to run twice."""
    options = {"lease_seconds": 8, "socket_timeout": 2, "socket_connect_timeout": 2, "silence_seconds": 2}
    return Setup(broker=f"redis://{HOST}:{cable.port}/0", ledger=ledger.url, options=options)


async def test_a_cut_cable_is_noticed_and_what_ran_meanwhile_is_acknowledged_later(
    server: Server, ledger: Ledger, folder: Path
) -> None:
    setup = Setup(broker=server.url(), ledger=ledger.url)
    async with laid_to(server.port) as cable, worker(through(cable, ledger), folder) as away:
        await send(setup, RUNNING, gate="open")
        await ledger.have_started(RUNNING)
        cable.cut()
        await away.says(LOST)
        await send(setup, WAITING)
        ledger.open_gate("open")
        await ledger.all_ran(RUNNING)
        cable.mend()
        await ledger.all_ran(WAITING)
        await nothing_left(server)
    assert set(ledger.starts().values()) == {1}, "what ran through the outage stayed this worker's"


@pytest.mark.slow
async def test_jolts_under_load_lose_nothing(server: Server, ledger: Ledger, folder: Path) -> None:
    setup = Setup(broker=server.url(), ledger=ledger.url)
    async with laid_to(server.port) as cable, worker(through(cable, ledger), folder) as away:
        for times in range(1, 4):
            tasks = range(times * 500, times * 500 + 500)
            await send(setup, tasks)
            cable.jolt()
            await away.says(LOST, times)
            await ledger.all_ran(tasks)
        await nothing_left(server)


@pytest.mark.slow
async def test_a_frozen_connection_is_given_up_and_replaced(server: Server, ledger: Ledger, folder: Path) -> None:
    setup = Setup(broker=server.url(), ledger=ledger.url)
    async with laid_to(server.port) as cable, worker(through(cable, ledger), folder):
        await send(setup, RUNNING, gate="open")
        await ledger.have_started(RUNNING)
        cable.freeze()
        await send(setup, LATER)
        await ledger.all_ran(LATER, deadline_seconds=15)
        ledger.open_gate("open")
        await ledger.all_ran(RUNNING)
        await nothing_left(server)


@pytest.mark.slow
async def test_a_route_that_is_lost_while_connecting_is_given_up_too(
    server: Server, ledger: Ledger, folder: Path
) -> None:
    setup = Setup(broker=server.url(), ledger=ledger.url)
    async with laid_to(server.port) as cable:
        options = {"lease_seconds": 8, "silence_seconds": 2}
        far = Setup(broker=f"redis://{HOST}:{cable.port}/0", ledger=ledger.url, options=options)
        async with worker(far, folder):
            await send(setup, RUNNING, gate="open")
            await ledger.have_started(RUNNING)
            cable.lose_route()
            before = cable.accepted
            await eventually(lambda: cable.accepted > before, 15)
            cable.find_route()
            await send(setup, LATER)
            await ledger.all_ran(LATER, deadline_seconds=20)
            ledger.open_gate("open")
            await ledger.all_ran(RUNNING)
            await nothing_left(server)


@pytest.mark.slow
async def test_a_worker_that_starts_before_its_server_waits_for_it(
    server: Server, ledger: Ledger, folder: Path
) -> None:
    setup = Setup(broker=server.url(), ledger=ledger.url)
    await send(setup, LATER)
    async with laid_to(server.port) as cable:
        cable.cut()
        async with worker(through(cable, ledger), folder, ready=False) as early:
            await early.says("cannot connect")
            cable.mend()
            await ledger.all_ran(LATER)
