from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.weather.fleet import Ledger, nothing_left, send, worker
from tests.weather.generic_app import Setup
from tests.weather.servers import KINDS, Server


@pytest.fixture(params=KINDS)
def server(request: pytest.FixtureRequest, folder: Path) -> Iterator[Server]:
    binary = KINDS[request.param]
    if binary is None:
        pytest.skip(f"no {request.param} is installed here")
    started = Server(folder / "server", binary)
    started.start()
    yield started
    started.kill()


async def test_work_of_every_sort_is_done_once_and_that_of_a_killed_worker_again(
    server: Server, ledger: Ledger, folder: Path
) -> None:
    setup = Setup(broker=server.url(), ledger=ledger.url)
    await send(setup, range(100))
    await send(setup, range(100, 120), priority=6)
    await send(setup, range(120, 140), countdown=1)
    async with worker(setup, folder) as first:
        await ledger.all_ran(range(140))
        await send(setup, range(200, 210), gate="open")
        await ledger.have_started(range(200, 210))
        first.kill()
    assert set(ledger.runs().values()) == {1}
    async with worker(setup, folder):
        await ledger.have_started(range(200, 210), times=2)
        ledger.open_gate("open")
        await ledger.all_ran(range(200, 210))
        await nothing_left(server)
    assert set(ledger.starts().values()) == {2}, "nobody but the dead worker's heir ran them again"


@pytest.mark.slow
async def test_an_idle_worker_is_told_of_new_work_instead_of_asking_for_it(
    server: Server, ledger: Ledger, folder: Path
) -> None:
    setup = Setup(broker=server.url(), ledger=ledger.url, options={"poll_seconds": 60})
    async with worker(setup, folder):
        await send(setup, [1])
        await ledger.all_ran([1], deadline_seconds=10)
        await send(setup, [2])
        await ledger.all_ran([2], deadline_seconds=10)
