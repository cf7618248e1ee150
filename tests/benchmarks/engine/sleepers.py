"""How long many tasks that only wait take in one worker process, and how much memory it needs for them."""

from __future__ import annotations

import time
from dataclasses import replace

from tests.benchmarks.engine import backlogs, processes
from tests.benchmarks.engine.contenders import OUR_POOL, OUR_TRANSPORT, celery
from tests.benchmarks.engine.rates import LIMIT_SECONDS, Bench
from tests.benchmarks.installation import MIB, Row, peak_bytes

LOOK_SECONDS = 0.01
MOST_MEMORY_BYTES = 200 * MIB


def rows(bench: Bench, count: int, most_seconds: float) -> list[Row]:
    """`count` tasks that await a second each, sent at once to a worker that is ready."""
    warm_up = celery("sleepers", "-c", str(count), messages=1, task="noop_async", **OUR_POOL, **OUR_TRANSPORT)
    message, first = bench.message(replace(warm_up, task="wait_async")), bench.message(warm_up)
    bench.redis.flushdb()
    backlog = warm_up.backlog()
    with processes.running(warm_up.command(), bench.variables(warm_up), bench.log(warm_up)) as worker:
        backlogs.fill(backlog, bench.redis, first, 1)
        _until_done(bench, worker)
        began_at = time.monotonic()
        backlogs.fill(backlog, bench.redis, message, count)
        _until_done(bench, worker)
        took_seconds = time.monotonic() - began_at
        [pid] = worker.pids()
        peak = peak_bytes(pid)
    return [
        Row(
            f"{count:,} x await 1 s, one process",
            f"{took_seconds:.2f} s",
            f"at most {most_seconds:g} s",
            took_seconds <= most_seconds,
        ),
        Row("  its memory at most", f"{peak / MIB:.0f} MiB", "under 200 MiB", peak < MOST_MEMORY_BYTES),
    ]


def _until_done(bench: Bench, worker: processes.Worker) -> None:
    give_up_at = time.monotonic() + LIMIT_SECONDS
    while backlogs.CeleryBacklog().remaining(bench.redis):
        worker.check()
        if time.monotonic() > give_up_at:
            raise TimeoutError("the sleepers do not end")
        time.sleep(LOOK_SECONDS)
