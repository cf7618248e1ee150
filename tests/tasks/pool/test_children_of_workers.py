from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
from billiard.exceptions import WorkerLostError

from tasks.pool.child import Child, ChildDied
from tests.service.child_programs import wait_until_gone
from tests.tasks.pool import child_app
from tests.tasks.pool.child_app import spin
from tests.tasks.pool.children_made import APPLICATION, Make, begun_in, is_gone, making
from tests.waiting import eventually

ROOT = Path(__file__).parents[3]


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    """Makes children that end with the test."""
    async with making() as make:
        yield make


async def test_closing_ends_what_runs_and_what_rests(make: Make, tmp_path: Path) -> None:
    children, file = make(), tmp_path / "begun"
    busy = asyncio.create_task(children.run(partial(spin, str(file))))
    spinning = await eventually(begun_in(file))
    resting = await children.run(os.getpid)
    await children.close()
    assert is_gone(spinning)
    assert is_gone(resting)
    with pytest.raises(WorkerLostError):
        await busy


async def test_a_process_hears_that_the_worker_stops_and_may_finish(make: Make) -> None:
    children, began = make(), asyncio.Event()
    call = asyncio.create_task(children.run(child_app.hear_of_the_stop, on_begin=lambda pid: began.set()))
    await began.wait()
    children.stop_soon()
    assert await call


async def test_a_termination_of_the_whole_service_is_left_to_the_worker(make: Make, tmp_path: Path) -> None:
    children, file = make(), tmp_path / "begun"
    call = asyncio.create_task(children.run(partial(spin, str(file)), soft_seconds=20))
    pid = await eventually(begun_in(file))
    os.kill(pid, signal.SIGTERM)
    os.kill(pid, signal.SIGINT)
    os.kill(pid, signal.SIGUSR1)
    assert await call == "tidied up"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody can be volunteered")
async def test_the_kernel_takes_a_child_before_its_worker_when_memory_is_short(make: Make) -> None:
    assert await make().run(child_app.oom_score) == "1000"


PARENT = """
import asyncio, functools, sys
from tasks.pool.children import Children
from tests.tasks.pool import child_app

async def main():
    children = Children("tests.tasks.pool.child_app:app", "me@here", processes=2, lone_processes=1)
    calls = [children.run(functools.partial(child_app.spin, path)) for path in sys.argv[1:3]]
    calls.append(children.run(functools.partial(child_app.spin, sys.argv[3]), alone=True))
    await asyncio.gather(*calls)

asyncio.run(main())
"""


async def test_no_process_outlives_a_killed_worker(tmp_path: Path) -> None:
    files = [tmp_path / str(number) for number in range(3)]
    command = [sys.executable, "-c", PARENT, *map(str, files)]
    parent = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, start_new_session=True)
    try:
        pids = [await eventually(begun_in(file), 20.0) for file in files]
        parent.kill()
        for pid in pids:
            await asyncio.to_thread(wait_until_gone, pid)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(parent.pid, signal.SIGKILL)
        parent.wait()


async def test_a_process_whose_worker_has_hung_up_ends_in_the_middle_of_its_body(tmp_path: Path) -> None:
    file = tmp_path / "begun"
    child = await Child.start(APPLICATION, "me@here")
    call = asyncio.create_task(child.call(partial(spin, str(file))))
    await eventually(begun_in(file))
    child._writer.close()  # what the kernel does to a dead worker's sockets, where it does nothing else
    with pytest.raises(ChildDied):
        await call
    assert child._process.returncode == 1
