"""How long the task of a killed worker waits until another worker begins it again, ours beside stock Celery's.

Stock Celery gives a task back after its `visibility_timeout`, an hour unless told otherwise; here it is told our lease.
"""

from __future__ import annotations

import time
from pathlib import Path

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
        doomed = processes.start(command, variables, log)
        self._heir: processes.Worker | None = None
        try:
            backlogs.fill(contender.backlog(), bench.redis, message, 1)
            self._await_begun(BEGIN_SECONDS)
            self._heir = processes.start(command, variables, log)
            _wait_until_consuming(bench.redis, 2)
        finally:
            doomed.kill()
        self._killed_at = time.monotonic()

    def begun_again_after(self, most_seconds: float) -> float | None:
        """Seconds from the kill to the second beginning; None when it did not come within so many."""
        try:
            self._await_begun(max(0.1, self._killed_at + most_seconds - time.monotonic()))
        except TimeoutError:
            return None
        return time.monotonic() - self._killed_at

    def end(self) -> None:
        """Ends the second worker."""
        if self._heir is not None:
            self._heir.kill()

    def _await_begun(self, seconds: float) -> None:
        if self._redis.blpop(["begun"], timeout=seconds) is None:
            raise TimeoutError("the task does not begin")


def rows(redis_url: str, other_url: str, logs: Path, patience_seconds: float) -> list[Row]:
    """Ours and, for at most `patience_seconds`, stock Celery's, both in the same time."""
    ours = Bereaved(Bench(redis_url, logs, 1.0), OURS)
    stock = Bereaved(Bench(other_url, logs, 1.0), STOCK)
    try:
        own_seconds = ours.begun_again_after(patience_seconds)
        stock_seconds = stock.begun_again_after(patience_seconds)
    finally:
        ours.end()
        stock.end()
    return [
        Row(
            "kill -9 until another worker begins the task, default lease",
            _figure(own_seconds, patience_seconds),
            f"at most {MOST_SECONDS:g} s",
            own_seconds is not None and own_seconds <= MOST_SECONDS,
        ),
        Row(f"  {STOCK.name}", _figure(stock_seconds, patience_seconds)),
    ]


def _figure(seconds: float | None, patience_seconds: float) -> str:
    return f"over {patience_seconds:.0f} s" if seconds is None else f"{seconds:.1f} s"


def _wait_until_consuming(redis: Redis, workers: int) -> None:
    """Until so many workers have their control queues bound, which they do just before they consume."""
    give_up_at = time.monotonic() + BEGIN_SECONDS
    while redis.scard("_kombu.binding.celery.pidbox") < workers:
        if time.monotonic() > give_up_at:
            raise TimeoutError("the second worker does not come up")
        time.sleep(0.05)
