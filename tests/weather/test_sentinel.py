from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.waiting import eventually
from tests.weather.fleet import Ledger, nothing_left, send, worker
from tests.weather.generic_app import Setup
from tests.weather.sentinels import NAME, Watched

TASKS = range(5_000)


OPTIONS = {"master_name": NAME, "lease_seconds": 5, "socket_timeout": 2}
SETTLED_SECONDS = 60.0
"""Sentinel demotes a primary it has replaced ten seconds after that is back; who writes to it learns of it then."""


@pytest.fixture
def watched(folder: Path) -> Iterator[Watched]:
    group = Watched(folder)
    group.start()
    yield group
    group.remove()


@pytest.mark.slow
@pytest.mark.parametrize("come_back", [False, True], ids=["dies", "stalls"])
async def test_all_tasks_end_though_the_master_is_replaced_in_their_middle(
    watched: Watched, ledger: Ledger, folder: Path, come_back: bool
) -> None:
    setup = Setup(broker=watched.url(), ledger=ledger.url, options=OPTIONS)
    await eventually(watched.is_complete, 30)
    await send(setup, TASKS)
    master = watched.master()
    assert await asyncio.to_thread(master.client().wait, 2, 10_000) == 2, "the replicas have all of it"
    with watched.telling():
        async with worker(setup, folder), worker(setup, folder):
            await eventually(lambda: len(ledger.runs()) > len(TASKS) // 10)
            (master.stall if come_back else master.kill)()
            assert len(ledger.runs()) < len(TASKS), "that was in the middle"
            await eventually(lambda: watched.have_another_master_than(master), 30)
            if come_back:  # it takes itself for the master still, and so does who is connected to it
                master.go_on()
            await ledger.all_ran(TASKS, deadline_seconds=SETTLED_SECONDS)
            await nothing_left(watched.master, deadline_seconds=SETTLED_SECONDS)
