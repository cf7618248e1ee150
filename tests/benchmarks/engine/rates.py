"""How many no-ops a worker does in a second, and what one costs it, measured on a queue that is full before it starts.

The clock runs from the tenth part of the messages to the last: neither the start of the processes nor their first
imports count. CPU time is that of all the worker's processes, never the server's.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from redis import Redis

from tests.benchmarks.engine import backlogs, processes
from tests.benchmarks.engine.contenders import Contender

LOOK_SECONDS = 0.02
LIMIT_SECONDS = 120.0


class Rate(NamedTuple):
    """One round of one contender."""

    per_second: float
    cpu_us: float

    @property
    def per_cpu_second(self) -> float:
        """Messages for each second of processor time."""
        return 1e6 / self.cpu_us


class Bench:
    """A server and a folder for the logs; sends each contender's message once and multiplies it afterwards."""

    def __init__(self, redis_url: str, logs: Path, share: float) -> None:
        self.redis_url, self.logs, self._share = redis_url, logs, share
        self.redis = Redis.from_url(redis_url, socket_timeout=None)  # its waits are long
        self._messages: dict[str, bytes] = {}

    def message(self, contender: Contender) -> bytes:
        """Its task as its own client sends it."""
        key = f"{contender.peer} {contender.task} {contender.variables}"
        if key not in self._messages:
            variables = self.variables(contender)
            self._messages[key] = backlogs.one_message(
                contender.peer, contender.task, contender.backlog(), self.redis, variables
            )
        return self._messages[key]

    def variables(self, contender: Contender) -> dict[str, str]:
        """Its environment."""
        server = {"ENGINE_REDIS_URL": self.redis_url, "REDIS_URL": self.redis_url}
        return {**contender.variables, **server, "MOORAGE_DATA": str(self.logs / "data")}

    def log(self, contender: Contender) -> Path:
        """Where its workers write."""
        return self.logs / "".join(letter if letter.isalnum() else "-" for letter in contender.name)

    def rate(self, contender: Contender, workers: int = 1) -> Rate:
        """One round: fills the queue, starts the workers, and waits until all is done."""
        message, backlog = self.message(contender), contender.backlog()
        count = int(contender.messages * self._share) * workers
        self.redis.flushdb()
        backlogs.fill(backlog, self.redis, message, count)
        with contextlib.ExitStack() as stack:
            started = [
                stack.enter_context(
                    processes.running(contender.command(number), self.variables(contender), self.log(contender))
                )
                for number in range(workers)
            ]
            remaining, begun_at, begun_cpu = self._wait(contender, started, int(count * 0.9))
            _, ended_at, ended_cpu = self._wait(contender, started, 0)
        return Rate(remaining / (ended_at - begun_at), (ended_cpu - begun_cpu) / remaining * 1e6)

    def _wait(self, contender: Contender, workers: Sequence[processes.Worker], most: int) -> tuple[int, float, float]:
        """Until at most so many remain: how many, at what time, after how much CPU time. Raises TimeoutError."""
        give_up_at = time.monotonic() + LIMIT_SECONDS
        backlog = contender.backlog()
        while (remaining := backlog.remaining(self.redis)) > most:
            if time.monotonic() > give_up_at:
                raise TimeoutError(f"{contender.name}: {remaining} messages are left; see {self.log(contender)}")
            for worker in workers:
                worker.check()
            time.sleep(LOOK_SECONDS)
        return remaining, time.monotonic(), sum(worker.cpu_seconds() for worker in workers)


def middle(rates: Sequence[Rate]) -> Rate:
    """The median of each figure."""
    return Rate(median(rate.per_second for rate in rates), median(rate.cpu_us for rate in rates))
