"""What a living worker holds stays with it: through an outage longer than its lease, and whoever else looks."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import eventually
from tests.weather.fleet import Ledger, nothing_left, send, worker
from tests.weather.generic_app import Setup, build
from tests.weather.servers import Server

LEASE_SECONDS = 2.0
TASKS = range(6)
PINGS = 3


@pytest.mark.slow
async def test_after_an_outage_longer_than_a_lease_each_task_still_runs_once(
    server: Server, ledger: Ledger, folder: Path
) -> None:
    setup = Setup(broker=server.url(), ledger=ledger.url, options={"lease_seconds": LEASE_SECONDS})
    fleet = worker(setup, folder, "-c", "4"), worker(setup, folder, "-c", "4")
    async with fleet[0] as first, fleet[1] as second:
        await send(setup, TASKS, gate="open")
        await ledger.have_started(TASKS)
        server.kill()
        killed_at = time.monotonic()
        await eventually(lambda: time.monotonic() > killed_at + 1.5 * LEASE_SECONDS)
        server.start()
        for one in (first, second):
            await one.says("leases are kept again")
        await eventually(lambda: restores_go_on(server))
        ledger.open_gate("open")
        await ledger.all_ran(TASKS)
        await nothing_left(server)
        assert set(ledger.starts().values()) == set(ledger.runs().values()) == {1}
        assert "whose holders died" not in first.log() + second.log()


async def test_who_only_pings_restores_nothing_however_short_its_lease(
    server: Server, ledger: Ledger, folder: Path
) -> None:
    setup = Setup(broker=server.url(), ledger=ledger.url, options={"lease_seconds": 60})
    control = build(Setup(broker=server.url(), ledger=ledger.url, options={"lease_seconds": 0.1})).control
    keepers = set(keeper_threads())
    async with worker(setup, folder, "-c", "4") as only:
        await send(setup, TASKS[:4], gate="open")
        await ledger.have_started(TASKS[:4])
        for _ in range(PINGS):
            pongs: Any = await asyncio.to_thread(control.ping, timeout=2.0, limit=1)
            assert pongs == [{f"{only.name}@here": {"ok": "pong"}}]
            assert set(keeper_threads()) <= keepers
        ledger.open_gate("open")
        await ledger.all_ran(TASKS[:4])
        assert set(ledger.starts().values()) == {1}


def restores_go_on(server: Server) -> bool:
    """Whether a worker has looked for what dead holders left after the time that the living have to renew."""
    watch: Any = server.client().hgetall("unacked_watch")
    return float(watch["asked"]) > float(watch["wait_until"])


def keeper_threads() -> list[threading.Thread]:
    """The threads of this process that keep leases."""
    return [thread for thread in threading.enumerate() if thread.name == "transport-keeper"]
