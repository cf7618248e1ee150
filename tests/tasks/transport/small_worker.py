"""Real workers of `small_app`, in processes of their own."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from redis import Redis

from tests.waiting import eventually

ROOT = Path(__file__).parents[3]
START_SECONDS = 30.0
STOP_SECONDS = 15.0


class SmallWorker:
    """The process and its log."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process, self._log = process, log

    def log(self) -> str:
        """What it said so far."""
        return self._log.read_text()

    def kill(self) -> None:
        """Ends it and its children in the middle of whatever they do."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    async def stop(self, *signals: signal.Signals) -> int:
        """Sends SIGTERM, or these, and returns the exit code."""
        for number in signals or (signal.SIGTERM,):
            self.process.send_signal(number)
        return await asyncio.to_thread(self.process.wait, STOP_SECONDS)


@asynccontextmanager
async def small_worker(
    folder: Path, redis_url: str, *options: str, pool: str = "solo", concurrency: int = 1, **variables: str
) -> AsyncIterator[SmallWorker]:
    """A worker of both queues, ready to work."""
    name = f"w{uuid.uuid4().hex[:8]}"
    log = folder / f"{name}.log"
    command = [sys.executable, "-m", "celery", "-A", "tests.tasks.transport.small_app", "worker", "-n", f"{name}@%h"]
    command += ["-P", pool, "-c", str(concurrency), "-l", "INFO", "--without-mingle", *options]
    environ = os.environ | {"TEST_BROKER": redis_url, "PYTHONPATH": str(ROOT)} | variables
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=environ, cwd=ROOT, stdout=out, stderr=out, start_new_session=True)
    worker = SmallWorker(process, log)

    def is_ready() -> bool:
        assert process.poll() is None, worker.log()
        return f"{name}@" in worker.log() and " ready." in worker.log()

    try:
        await eventually(is_ready, START_SECONDS)
        yield worker
    finally:
        if process.poll() is None:
            worker.kill()


async def diary_of(redis: Redis, *words: str, deadline_seconds: float = 15.0) -> list[str]:
    """What tasks wrote down, once all these words are among it."""

    def all_there() -> list[str]:
        found = [line.decode() for line in redis.lrange("diary", 0, -1) if isinstance(line, bytes)]
        assert set(words) <= set(found), found
        return found or ["nothing"]

    return await eventually(all_there, deadline_seconds)
