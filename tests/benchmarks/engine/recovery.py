"""How long the task of a killed worker waits until another worker begins it again, ours beside stock Celery's.

Stock Celery gives a task back after its `visibility_timeout`, an hour unless told otherwise; here it is told our lease.
"""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

from redis import Redis

from tests.benchmarks.engine import backlogs, processes
from tests.benchmarks.engine.contenders import OUR_POOL, OUR_TRANSPORT, Contender, celery
from tests.benchmarks.engine.rates import Bench
from tests.benchmarks.installation import Row

LEASE_SECONDS = 10.0
MOST_SECONDS = LEASE_SECONDS * 1.25 + 1.0
BEGIN_SECONDS = 60.0

OURS = celery("our pool and transport", messages=1, task="linger_async", **OUR_POOL, **OUR_TRANSPORT)
STOCK = celery(
    f"stock Celery, visibility_timeout {LEASE_SECONDS:g}",
    *("-P", "threads", "-c", "8"),
    messages=1,
    task="linger",
    broker_transport_options={"visibility_timeout": LEASE_SECONDS},
)


class Bereaved:
    """A task whose worker has been killed, and a second worker that stands by."""

    def __init__(self, bench: Bench, contender: Contender) -> None:
        self._redis = bench.redis
        message = bench.message(contender)
        bench.redis.flushdb()
        command, variables, log = contender.command(), bench.variables(contender), bench.log(contender)
        doomed = processes.start([*command, "-n", "doomed@%h"], variables, log)
        self._heir: processes.Worker | None = None
        try:
            backlogs.fill(contender.backlog(), bench.redis, message, 1)
            self._await_begun(BEGIN_SECONDS)
            self._heir = processes.start([*command, "-n", "heir@%h"], variables, log)
            _wait_until_consuming(bench.redis, 2)
        except BaseException:
            self.end()
            raise
        finally:
            doomed.kill()
        self._killed_at = time.time()  # the tasks say in the same clock when they begin

    def begun_again_after(self, most_seconds: float) -> float | None:
        """Seconds from the kill to the second beginning; None when it did not come within so many."""
        try:
            return self._await_begun(max(0.1, self._killed_at + most_seconds - time.time())) - self._killed_at
        except TimeoutError:
            return None

    def end(self) -> None:
        """Ends the second worker."""
        if self._heir is not None:
            self._heir.kill()

    def _await_begun(self, seconds: float) -> float:
        told: Any = self._redis.blpop(["begun"], timeout=seconds)
        if told is None:
            raise TimeoutError("the task does not begin")
        return float(told[1])


def rows(redis_url: str, other_url: str, logs: Path, kills: int, patience_seconds: float) -> list[Row]:
    """The longest wait of ours after so many kills and, in the same time, stock Celery's, up to `patience_seconds`."""
    stock = Bereaved(Bench(other_url, logs, 1.0), STOCK)
    try:
        waits = [_own_wait(Bench(redis_url, logs, 1.0)) for _ in range(kills)]
        stock_seconds = stock.begun_again_after(patience_seconds)
    finally:
        stock.end()
    longest = max(waits)
    return [
        Row(
            f"kill -9 until another worker begins, longest of {kills}",
            f"{longest:.1f} s",
            f"at most {MOST_SECONDS:g} s",
            longest <= MOST_SECONDS,
        ),
        Row(
            f"  {STOCK.name}",
            f"over {patience_seconds:.0f} s" if stock_seconds is None else f"{stock_seconds:.1f} s",
        ),
    ]


def _own_wait(bench: Bench) -> float:
    ours = Bereaved(bench, OURS)
    try:
        waited = ours.begun_again_after(3 * MOST_SECONDS)
        return math.inf if waited is None else waited
    finally:
        ours.end()


def _wait_until_consuming(redis: Redis, workers: int) -> None:
    """Until so many workers have their control queues bound, which they do just before they consume."""
    give_up_at = time.monotonic() + BEGIN_SECONDS
    while redis.scard("_kombu.binding.celery.pidbox") < workers:
        if time.monotonic() > give_up_at:
            raise TimeoutError("the second worker does not come up")
        time.sleep(0.05)
