"""Stock publishers and workers, ours, and Celery's tools share one set of queues."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.fleet.mixed import mixed_fleet
from tests.waiting import eventually
from tests.weather.fleet import Ledger, nothing_left, send
from tests.weather.generic_app import build
from tests.weather.servers import Server

PLAIN, URGENT, LATER = range(200), range(200, 240), range(240, 280)


@pytest.mark.parametrize("prefix", ["", pytest.param("fleet:", marks=pytest.mark.slow)])
async def test_all_publish_for_all(server: Server, ledger: Ledger, folder: Path, prefix: str) -> None:
    async with mixed_fleet(server, ledger, folder, prefix) as fleet:
        await fleet.publish(PLAIN)
        await fleet.publish(URGENT, priority=9)
        await fleet.publish(LATER, countdown=1)
        await ledger.all_ran([*PLAIN, *URGENT, *LATER])
        shares = await fleet.shares()
        assert all(shares.values()), f"both took their part: {shares}"
        await nothing_left(server, prefix)
    assert set(ledger.runs().values()) == {1}


@pytest.mark.slow
async def test_all_are_inspected_and_controlled_alike(server: Server, ledger: Ledger, folder: Path) -> None:
    async with mixed_fleet(server, ledger, folder) as fleet:
        assert all({"mark", "wait_for"} <= set(names) for names in (await fleet.asked("registered")).values())
        await fleet.publish(range(4), gate="open")
        await ledger.have_started(range(4))
        active = await fleet.asked("active")
        assert sorted(task["args"][0] for tasks in active.values() for task in tasks) == [0, 1, 2, 3]
        ledger.open_gate("open")
        await ledger.all_ran(range(4))

        ours = f"{fleet.ours.name}@here"
        control = fleet.control()
        for queue in ("red", "blue"):
            await asyncio.to_thread(control.cancel_consumer, queue, destination=[ours], reply=True)
        before = await fleet.shares()
        await fleet.publish(range(10, 60))
        await ledger.all_ran(range(10, 60))
        assert (await fleet.shares())[ours] == before[ours], "it was told to take nothing"
        for queue in ("red", "blue"):
            await asyncio.to_thread(control.add_consumer, queue, destination=[ours], reply=True)
        await fleet.theirs.stop()
        await send(fleet.stock, range(60, 110))
        await ledger.all_ran(range(60, 110))


async def test_revoked_tasks_do_not_run_and_running_ones_end(server: Server, ledger: Ledger, folder: Path) -> None:
    async with mixed_fleet(server, ledger, folder) as fleet:
        for number, setup in enumerate((fleet.lossless, fleet.stock)):
            await send(setup, [number], countdown=1.5, task_id=f"queued-{number}")
        control = fleet.control()
        await asyncio.to_thread(control.revoke, ["queued-0", "queued-1"])
        running = range(10, 18)
        for number in running:
            await send(fleet.stock, [number], gate="never", task_id=f"running-{number}")
        await ledger.have_started(running[:4])
        active = await fleet.asked("active")
        assert all(active.values()), "both run some"
        await asyncio.to_thread(control.revoke, [f"running-{n}" for n in running], terminate=True, signal="SIGTERM")
        await nothing_left(server)
        await eventually(lambda: _none_active(fleet.asked("active")))
        assert not ledger.runs()


async def _none_active(asked: Any) -> bool:
    return not any((await asked).values())


@pytest.mark.slow
async def test_events_of_both_are_heard(server: Server, ledger: Ledger, folder: Path) -> None:
    heard: list[dict[str, Any]] = []

    def listen() -> None:
        app = build(fleet.stock)
        with app.connection_for_read() as connection:
            receiver = app.events.Receiver(connection, handlers={"task-succeeded": heard.append})
            for _ in receiver.itercapture(limit=None, timeout=20, wakeup=True):
                if done.is_set():
                    return

    done = asyncio.Event()
    async with mixed_fleet(server, ledger, folder) as fleet:
        listening = asyncio.create_task(asyncio.to_thread(listen))
        sent = 0

        async def both_were_heard() -> bool:
            nonlocal sent
            await fleet.publish(range(sent, sent + 20))
            sent += 20
            return {event["hostname"] for event in heard} == fleet.hosts()

        await eventually(both_were_heard, 20)
        done.set()
        await fleet.publish(range(sent, sent + 20))
        await listening
