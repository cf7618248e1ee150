"""Workers of the hazardous application, started again when they are killed or recycle themselves; and its client."""

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
from typing import Any

from celery import Celery
from celery.result import AsyncResult
from redis import Redis

from tasks.redis_address import celery_url
from tests.waiting import eventually

APPLICATION = "tests.tasks.pool.hazard_app"
ROOT = Path(__file__).parents[3]
START_SECONDS = 30.0


class Client:
    """Sends the application's tasks, which the test process need not import."""

    def __init__(self, redis_url: str) -> None:
        self.app = Celery("client", broker=celery_url(redis_url), backend=celery_url(redis_url), set_as_current=False)
        self.redis = Redis.from_url(redis_url, decode_responses=True)

    def send(self, task: str, *arguments: Any, **options: Any) -> AsyncResult[Any]:
        """Sends a task of the application."""
        return self.app.send_task(f"{APPLICATION}.{task}", arguments, **options)

    def nothing_is_left(self) -> bool:
        """Whether no message waits, is delayed or is held."""
        return not self.redis.exists("celery", "celery.delayed", "unacked", "unacked_index")


async def outcome(result: AsyncResult[Any], deadline_seconds: float = 30.0) -> Any:
    """The result, or the error with which it failed."""
    await eventually(result.ready, deadline_seconds)
    return result.result


class HazardWorkers:
    """One worker at a time. `exit_codes` tells how the earlier ones ended."""

    def __init__(self, folder: Path, redis_url: str, variables: dict[str, str]) -> None:
        self._folder, self._environ = folder, os.environ | {"HAZARD_BROKER": redis_url, "PYTHONPATH": str(ROOT)}
        self._environ |= variables
        self.exit_codes: list[int] = []
        self.process: subprocess.Popen[bytes]
        self.log: Path
        self._start()

    async def is_ready(self) -> bool:
        """Whether the present one consumes."""
        return " ready." in self.log.read_text()

    async def keep_alive(self) -> None:
        """Starts the next one whenever one has ended."""
        while True:
            self.exit_codes.append(await asyncio.to_thread(self.process.wait))
            self._start()

    def kill(self) -> None:
        """Ends the present one and its children at once."""
        os.killpg(self.process.pid, signal.SIGKILL)

    def _start(self) -> None:
        name = f"w{uuid.uuid4().hex[:8]}"
        self.log = self._folder / f"{name}.log"
        command = [sys.executable, "-m", "celery", "-A", APPLICATION, "--quiet", "worker"]
        command += ["-n", f"{name}@test", "-c", "200", "-l", "INFO", "--without-gossip", "--without-mingle"]
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                command, env=self._environ, cwd=ROOT, stdout=out, stderr=out, start_new_session=True
            )


@asynccontextmanager
async def hazard_workers(folder: Path, redis_url: str, **variables: str) -> AsyncIterator[HazardWorkers]:
    """A worker that is ready, and whatever comes after it."""
    workers = HazardWorkers(folder, redis_url, variables)
    keeping = asyncio.create_task(workers.keep_alive())
    try:
        await eventually(workers.is_ready, START_SECONDS)
        yield workers
    except BaseException:
        print(*(f"{log}\n{log.read_text()}" for log in folder.glob("w*.log")), sep="\n")
        raise
    finally:
        keeping.cancel()
        workers.kill()
        workers.process.wait()
