"""A real worker of the pool's test application, in a process of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from celery.result import AsyncResult

from tests.tasks.pool import pool_base
from tests.waiting import POLL_SECONDS

T = TypeVar("T")

START_SECONDS = 30.0
ANSWER_SECONDS = 20.0
ROOT = Path(__file__).parents[3]


def until(check: Callable[[], T], deadline_seconds: float = 10.0) -> T:
    """Asks `check` until it answers something true, and returns that; fails the test when the deadline has passed."""
    give_up_at = time.monotonic() + deadline_seconds
    while not (answer := check()):
        assert time.monotonic() < give_up_at, f"not within {deadline_seconds:g} s: {answer!r}"
        time.sleep(POLL_SECONDS)
    return answer


def noted(result: AsyncResult[Any], what: str, deadline_seconds: float = 10.0) -> list[Any]:
    """Waits until the task has noted this, and returns all of its notes."""

    def check() -> list[Any]:
        found = pool_base.read_notes(str(result.id))
        return found if any(entry == what or (isinstance(entry, list) and entry[0] == what) for entry in found) else []

    return until(check, deadline_seconds)


def signals_of(result: AsyncResult[Any]) -> list[Any]:
    """The signals that a task has sent, as they were noted."""
    return pool_base.read_notes(f"signals:{result.id}")


class PoolWorker:
    """The process, its name and its log."""

    def __init__(self, process: subprocess.Popen[bytes], name: str, log: Path) -> None:
        self.process, self.name, self._log = process, name, log

    @property
    def log(self) -> str:
        """All it has said."""
        return self._log.read_text()

    def inspect(self, what: str) -> Any:
        """What `celery inspect` says of it. Asks again when a question is lost, as before it listens."""
        inspector = pool_base.app.control.inspect([self.name], timeout=2.0, limit=1)
        return until(getattr(inspector, what), ANSWER_SECONDS)[self.name]

    def control(self, command: str, **arguments: Any) -> Any:
        """What it answers to a remote control command."""
        asking: dict[str, Any] = {"destination": [self.name], "reply": True, "timeout": ANSWER_SECONDS, "limit": 1}
        answers = pool_base.app.control.broadcast(command, arguments, **asking)
        assert answers, f"{self.name} does not answer"
        return answers[0][self.name]

    def signal(self, number: int) -> None:
        """Sends it a signal."""
        self.process.send_signal(number)

    def wait(self, deadline_seconds: float = 20.0) -> int:
        """Its exit code, once it has ended."""
        return self.process.wait(deadline_seconds)


@contextlib.contextmanager
def running(folder: Path, name: str, *options: str, queue: str | None = None, **variables: str) -> Iterator[PoolWorker]:
    """A worker that consumes the queue `queue` or that of its name, from its readiness to the end of the block."""
    log, node = folder / f"{name}.log", f"{name}@test"
    command = [sys.executable, "-m", "celery", "-A", "tests.tasks.pool.pool_app", "--quiet", "worker", "-l", "INFO"]
    command += [
        "-n",
        node,
        "--without-gossip",
        "--without-mingle",
        "--without-heartbeat",
        "-Q",
        queue or name,
        *options,
    ]
    environ = os.environ | {"POOL_TEST_SOCKET": pool_base.REDIS_SOCKET, "PYTHONPATH": str(ROOT)} | variables
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=environ, cwd=ROOT, stdout=out, stderr=out, start_new_session=True)
    worker = PoolWorker(process, node, log)

    def is_ready() -> bool:
        assert process.poll() is None, worker.log
        return f"{node} ready" in worker.log

    try:
        until(is_ready, START_SECONDS)
        yield worker
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
