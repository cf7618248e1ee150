"""Workers of the generic application as processes, the messages sent to them, and the ledger of what they did."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from redis import Redis

from tests.waiting import eventually
from tests.weather.generic_app import QUEUES, RUNS, STARTS, Setup, build
from tests.weather.servers import Server

START_SECONDS = 30.0
LOG_LINES = 60
LOST = "connection to broker lost|lost a connection"
"""What a worker says whose connection ended: Celery's words, or the transport's when it could mend that by itself."""


class Ledger:
    """Which task ran, and how often."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._redis: Redis = Redis.from_url(url, decode_responses=True)

    def runs(self) -> dict[int, int]:
        """How often each task came to its end."""
        return self._counts(RUNS)

    def starts(self) -> dict[int, int]:
        """How often each task that waits was begun."""
        return self._counts(STARTS)

    def open_gate(self, gate: str) -> None:
        """Lets the tasks end that wait for it."""
        self._redis.set(gate, 1)

    async def all_ran(self, numbers: Iterable[int], deadline_seconds: float = 30.0) -> None:
        """Waits until each of these came to its end, be it more than once."""
        wanted = set(numbers)

        def none_missing() -> bool:
            missing = sorted(wanted - self.runs().keys())
            assert not missing, f"{len(missing)} did not run, as {missing[:10]}"
            return True

        await eventually(none_missing, deadline_seconds)

    async def have_started(self, numbers: Iterable[int], times: int = 1, deadline_seconds: float = 20.0) -> None:
        """Waits until each of these has been begun so often, and waits for its gate."""
        wanted = set(numbers)

        def begun() -> bool:
            starts = self.starts()
            waiting = sorted(number for number in wanted if starts.get(number, 0) < times)
            assert not waiting, f"{len(waiting)} not begun {times} times, as {waiting[:10]}"
            return True

        await eventually(begun, deadline_seconds)

    def _counts(self, key: str) -> dict[int, int]:
        counts: Any = self._redis.hgetall(key)
        return {int(number): int(times) for number, times in counts.items()}


class Worker:
    """A worker process and its log."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name, self.process, self._log = name, process, log

    def log(self) -> str:
        """What it said so far."""
        return self._log.read_text()

    async def says(self, pattern: str, times: int = 1, deadline_seconds: float = 20.0) -> None:
        """Waits until its log holds this so often, in whatever case."""

        def said() -> bool:
            found = re.findall(pattern, self.log(), re.IGNORECASE)
            assert len(found) >= times, f"{pattern!r} is {len(found)} times in its log"
            return True

        await eventually(said, deadline_seconds)

    def kill(self) -> None:
        """Ends it and its children in the middle of whatever they do."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    async def ended(self, deadline_seconds: float = 20.0) -> int:
        """Waits until it ends by itself; returns the exit code."""
        return await asyncio.to_thread(self.process.wait, deadline_seconds)

    async def stop(self, deadline_seconds: float = 20.0) -> int:
        """A warm shutdown; returns the exit code."""
        self.process.terminate()
        return await self.ended(deadline_seconds)


@asynccontextmanager
async def worker(setup: Setup, log_folder: Path, *options: str, ready: bool = True) -> AsyncIterator[Worker]:
    """A worker that consumes all queues, ready unless that is not to be waited for."""
    name = f"w{uuid.uuid4().hex[:8]}"
    log = log_folder / f"{name}.log"
    command = [sys.executable, "-m", "celery", "-A", "tests.weather.generic_app", "--quiet", "worker", "-l", "INFO"]
    command += ["-n", f"{name}@here", "-Q", ",".join(QUEUES), *options]
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, env=setup.environ(), stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )
    started = Worker(name, process, log)

    def is_ready() -> bool:
        if process.poll() is not None:
            raise RuntimeError(f"the worker ended:\n{started.log()}")
        return "ready." in started.log()

    try:
        if ready:
            await eventually(is_ready, START_SECONDS)
        yield started
    except BaseException:
        telling = [
            line for line in started.log().splitlines() if "] received" not in line and " succeeded in " not in line
        ]
        print(f"The log of {name}, but for what went well:", *telling[-LOG_LINES:], sep="\n")
        raise
    finally:
        if process.poll() is None:
            started.kill()


async def send(setup: Setup, numbers: Iterable[int], gate: str = "", **options: Any) -> None:
    """Publishes one message for each number, in turn to each queue, without blocking the test's loop.

    With a gate, each of the tasks waits until that is opened.
    """
    app = build(setup)
    name, more = ("wait_for", (gate,)) if gate else ("mark", ())

    def publish() -> None:
        with app.connection_for_write() as connection, app.amqp.Producer(connection) as producer:
            for number in numbers:
                chosen: dict[str, Any] = {"queue": QUEUES[number % len(QUEUES)], "producer": producer} | options
                app.send_task(name, (number, *more), **chosen)

    await asyncio.to_thread(publish)


async def nothing_left(
    server: Server | Callable[[], Server], prefix: str = "", *, deadline_seconds: float = 10.0
) -> None:
    """Waits until no message is queued, delayed, held or parked any more, on whichever server is asked by then."""
    kept = tuple(prefix + name for name in (*QUEUES, "unacked"))
    no_messages = {prefix + "unacked_leases", prefix + "unacked_watch"}  # a stock worker knows nothing of leases

    def is_empty() -> bool:
        names: Any = (server if isinstance(server, Server) else server()).client().keys()
        left = [name for name in names if name.startswith(kept) and name not in no_messages]
        assert not left, f"there is something in {left}"
        return True

    await eventually(is_empty, deadline_seconds)
