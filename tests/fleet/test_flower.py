"""Flower, which knows stock Celery only, shows a mixed fleet as one."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fleet.mixed import mixed_fleet
from tests.waiting import eventually
from tests.weather.fleet import Ledger, send
from tests.weather.generic_app import Setup
from tests.weather.servers import HOST, Server, free_port

START_SECONDS = 30.0
TASKS, PARKED = range(40), range(100, 107)

pytestmark = pytest.mark.skipif(importlib.util.find_spec("flower") is None, reason="Flower is not installed here")


@asynccontextmanager
async def flower(setup: Setup, folder: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a Flower that is up."""
    port = free_port()
    command = [sys.executable, "-m", "celery", "-A", "tests.weather.generic_app", "flower"]
    command += [f"--port={port}", f"--address={HOST}"]
    log = folder / "flower.log"
    with log.open("wb") as out:
        environ = setup.environ() | {"FLOWER_UNAUTHENTICATED_API": "true"}
        process = subprocess.Popen(command, env=environ, stdout=out, stderr=subprocess.STDOUT, start_new_session=True)

    async def is_up() -> bool:
        if process.poll() is not None:
            raise RuntimeError(log.read_text())
        try:
            return (await client.get("/healthcheck")).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    try:
        async with httpx.AsyncClient(base_url=f"http://{HOST}:{port}", timeout=10) as client:
            await eventually(is_up, START_SECONDS)
            yield client
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.slow
async def test_flower_shows_both_workers_their_tasks_and_the_queues(
    server: Server, ledger: Ledger, folder: Path
) -> None:
    async with mixed_fleet(server, ledger, folder) as fleet, flower(fleet.stock, folder) as client:
        sent = 0

        async def sees_tasks_of_both() -> bool:
            nonlocal sent
            await fleet.publish(range(sent, sent + 20))
            sent += 20
            tasks: dict[str, Any] = (await client.get("/api/tasks", params={"state": "SUCCESS"})).json()
            return {task["worker"] for task in tasks.values()} == fleet.hosts()

        await eventually(sees_tasks_of_both, 20)
        workers: dict[str, Any] = (await client.get("/api/workers", params={"refresh": "1"})).json()
        assert workers.keys() == fleet.hosts()
        assert all("mark" in worker["registered"] for worker in workers.values())
        await fleet.ours.stop()
        await fleet.theirs.stop()
        await send(fleet.lossless, PARKED)

        async def lengths() -> dict[str, int]:
            queues = (await client.get("/api/queues/length")).json()["active_queues"]
            found = {queue["name"]: queue["messages"] for queue in queues}
            assert sum(found.values()) == len(PARKED), found
            return found

        await eventually(lengths)
