from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from service import restart_policy
from service.children import describe_exit
from service.log_stream import LogStream
from service.supervisor import NeverReady, Supervisor
from tasks.clock import SystemClock
from tests.service.child_programs import CapturedLog, python_child, wait_until_gone

FOREVER = "import signal; print('running', flush=True); signal.pause()"


def tell_and_exit(word: str) -> str:
    """A program that says so when it is asked to stop, and then does."""
    return f"""
import signal, sys
def stop(*_):
    print({word!r}, flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
print('running', flush=True)
while True:
    signal.pause()
"""


STUBBORN = """
import signal
signal.signal(signal.SIGTERM, lambda *_: print('no', flush=True))
print('running', flush=True)
while True:
    signal.pause()
"""


@pytest.fixture
async def supervisor(captured: CapturedLog) -> Supervisor:
    roles = ["api", "beat", "worker", "broker"]
    return Supervisor(LogStream(captured, "console", roles, SystemClock()), SystemClock())


async def finish(supervisor: Supervisor, script: Callable[[], Awaitable[None]]) -> None:
    """Runs the supervisor with `script` as its startup, after which it is stopped."""

    async def startup() -> None:
        await script()
        supervisor.stop()

    async with asyncio.timeout(30):
        await supervisor.run(startup())


async def test_a_child_that_dies_is_started_again_and_that_is_said(
    supervisor: Supervisor, captured: CapturedLog
) -> None:
    async def script() -> None:
        supervisor.keep(python_child("worker", "import os; print('pid', os.getpid())\n" + FOREVER))
        text = await captured.saw("running")
        first = int(text.split("pid ")[1].split()[0])
        os.kill(first, signal.SIGKILL)
        await captured.saw("[up    ] worker died (killed by SIGKILL); restarting in 0.2 s")
        await captured.saw("running", times=2)

    await finish(supervisor, script)


async def test_a_child_that_recycles_itself_is_started_again_at_once_and_did_not_die(
    supervisor: Supervisor, captured: CapturedLog, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(restart_policy, "STEADY_LIFE_SECONDS", 0.0)
    program = f"""
import pathlib, sys
lives = pathlib.Path({str(tmp_path / "lives")!r})
lives.write_text((lives.read_text() if lives.exists() else '') + '.')
if len(lives.read_text()) < 8:
    sys.exit(75)
{FOREVER}
"""

    async def script() -> None:
        supervisor.keep(python_child("worker", program, recycle_code=75))
        await captured.saw("running")

    await finish(supervisor, script)
    assert captured.text.count("worker recycles itself and is started again") == 7
    assert "died" not in captured.text


async def test_children_stop_in_their_order_and_each_may_finish_its_work(
    supervisor: Supervisor, captured: CapturedLog
) -> None:
    async def script() -> None:
        for order, name in enumerate(("api", "beat", "worker", "broker")):
            supervisor.keep(python_child(name, tell_and_exit("bye"), stop_order=order))
        await captured.saw("running", times=4)

    await finish(supervisor, script)
    goodbyes = [line[1:7].strip() for line in (await captured.saw("bye", times=4)).splitlines() if line.endswith("bye")]
    assert goodbyes == ["api", "beat", "worker", "broker"]
    assert "died" not in captured.text


async def test_a_child_that_ignores_its_signal_is_killed_after_its_deadline(
    supervisor: Supervisor, captured: CapturedLog
) -> None:
    async def script() -> None:
        supervisor.keep(python_child("worker", STUBBORN, stop_seconds=0.3))
        await captured.saw("running")

    await finish(supervisor, script)
    await captured.saw("worker did not stop within 0 s and is killed")


async def test_a_second_stop_waits_for_nobody(supervisor: Supervisor, captured: CapturedLog) -> None:
    supervisor.keep(python_child("worker", STUBBORN, stop_seconds=60.0))
    run = asyncio.create_task(supervisor.run(asyncio.sleep(0)))
    await captured.saw("running")
    supervisor.stop()
    await captured.saw("] no")
    started = time.monotonic()
    supervisor.stop()
    async with asyncio.timeout(20):
        await run
    assert time.monotonic() - started < 10


async def test_what_a_child_leaves_running_ends_with_it(supervisor: Supervisor, captured: CapturedLog) -> None:
    code = f"""
import subprocess, sys
grandchild = subprocess.Popen([sys.executable, "-S", "-E", "-c", {STUBBORN!r}])
print("grandchild", grandchild.pid, flush=True)
"""

    async def script() -> None:
        supervisor.keep(python_child("worker", code + FOREVER))
        await captured.saw("grandchild")

    await finish(supervisor, script)
    wait_until_gone(int(captured.text.split("grandchild ")[1].split()[0]))


async def test_a_child_that_never_worked_is_given_up_with_its_last_words(supervisor: Supervisor) -> None:
    supervisor.keep(python_child("api", "raise SystemExit('no such table: tasks')"))
    with pytest.raises(NeverReady) as caught:
        async with asyncio.timeout(30):
            await supervisor.run(asyncio.sleep(0))
    assert caught.value.name == "api"
    assert "5 times in a row (exit code 1)" in caught.value.reason
    assert caught.value.last_lines[-1] == "no such table: tasks"


async def test_a_program_that_cannot_be_started_is_given_up_too(supervisor: Supervisor, tmp_path: Path) -> None:
    child = python_child("api", "")
    supervisor.keep(type(child)(**{**{f: getattr(child, f) for f in child.__struct_fields__}, "argv": [str(tmp_path)]}))
    with pytest.raises(NeverReady, match="could not be started"):
        async with asyncio.timeout(30):
            await supervisor.run(asyncio.sleep(0))


async def test_a_child_that_is_not_ready_in_time_ends_the_start(supervisor: Supervisor) -> None:
    async def never() -> bool:
        return False

    async def startup() -> None:
        supervisor.keep(python_child("api", FOREVER, is_ready=never, ready_seconds=0.3))
        await supervisor.ready("api")

    with pytest.raises(NeverReady, match="not ready after"):
        async with asyncio.timeout(30):
            await supervisor.run(startup())


async def test_an_error_of_the_startup_comes_out_after_everybody_was_stopped(
    supervisor: Supervisor, captured: CapturedLog
) -> None:
    async def startup() -> None:
        supervisor.keep(python_child("worker", tell_and_exit("bye")))
        await captured.saw("running")
        raise OSError("migration failed")

    with pytest.raises(OSError, match="migration failed"):
        await supervisor.run(startup())
    await captured.saw("bye")


async def test_a_stop_in_the_middle_of_the_start_ends_it(supervisor: Supervisor, captured: CapturedLog) -> None:
    async def startup() -> None:
        supervisor.keep(python_child("worker", FOREVER))
        await captured.saw("running")
        supervisor.stop()
        await asyncio.Event().wait()

    async with asyncio.timeout(20):
        await supervisor.run(startup())


def test_children_die_with_a_supervisor_that_is_killed() -> None:
    program = f"""
import asyncio, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from tests.service.child_programs import python_child
from service.log_stream import LogStream
from service.supervisor import Supervisor
from tasks.clock import SystemClock

async def main():
    supervisor = Supervisor(LogStream(sys.stdout.buffer, "console", ["worker"], SystemClock()), SystemClock())
    supervisor.keep(python_child("worker", "import os; print('pid', os.getpid(), flush=True)\\n" + {STUBBORN!r}))
    await supervisor.run(asyncio.sleep(0))

asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline().split("pid ")[1])
        assert "running" in process.stdout.readline()
        process.kill()
    wait_until_gone(pid)


@pytest.mark.parametrize(
    ("code", "words"),
    [(0, "exit code 0"), (3, "exit code 3"), (-9, "killed by SIGKILL"), (-120, "killed by signal 120")],
)
def test_an_exit_is_described_in_words(code: int, words: str) -> None:
    assert describe_exit(code) == words
