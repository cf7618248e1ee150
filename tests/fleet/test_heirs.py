"""What a dead worker leaves is done by those of the other kind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.weather.fleet import Ledger, nothing_left, send, worker
from tests.weather.generic_app import Setup
from tests.weather.servers import Server

HELD = range(4)
QUICK = {"visibility_timeout": 3, "unacked_restore_interval": 1, "unacked_restore_throttle": 1}
"""kombu looks every 100 s at what it calls visible, unless it is told otherwise."""


@pytest.mark.slow
async def test_our_worker_takes_over_from_a_stock_one(server: Server, ledger: Ledger, folder: Path) -> None:
    ours = Setup(broker=server.url(), ledger=ledger.url, options=QUICK)
    stock = replace(ours, lossless=False, pool="threads")
    await send(stock, HELD, gate="open")
    async with worker(stock, folder, "-c", "4", "-P", "threads") as theirs:
        await ledger.have_started(HELD)
        theirs.kill()
    async with worker(ours, folder):
        await ledger.have_started(HELD, times=2)
        ledger.open_gate("open")
        await ledger.all_ran(HELD)
        await nothing_left(server)


@pytest.mark.slow
async def test_a_stock_worker_takes_over_from_ours(server: Server, ledger: Ledger, folder: Path) -> None:
    ours = Setup(broker=server.url(), ledger=ledger.url, options=QUICK)
    stock = replace(ours, lossless=False, pool="threads")
    await send(ours, HELD, gate="open")
    async with worker(ours, folder) as first:
        await ledger.have_started(HELD)
        first.kill()
    async with worker(stock, folder, "-c", "4", "-P", "threads"):
        await ledger.have_started(HELD, times=2)
        ledger.open_gate("open")
        await ledger.all_ran(HELD)
        await nothing_left(server)
