"""What a worker with nothing to do costs, and how soon it answers when one task comes.

The time runs from before the message is pushed until its answer, which the task's body pushes back, is read.
"""

from __future__ import annotations

import time
from statistics import median, quantiles

from tests.benchmarks.engine import backlogs, processes
from tests.benchmarks.engine.contenders import MOORAGE, OUR_POOL, OUR_TRANSPORT, Contender, celery, dramatiq
from tests.benchmarks.engine.rates import Bench
from tests.benchmarks.installation import Row

GAP_SECONDS = 0.03
ANSWER_SECONDS = 60.0
SETTLE_SECONDS = 2.0
MOST_MEDIAN_MILLISECONDS = 5.0
MOST_CPU_SHARE = 0.005

OURS = celery("our pool and transport", messages=1, task="answer_async", **OUR_POOL, **OUR_TRANSPORT)
OTHERS = (
    celery("stock Celery, prefork -c2", "-P", "prefork", "-c", "2", messages=1, task="answer"),
    dramatiq("Dramatiq -p1 -t8", "-p", "1", "-t", "8", messages=1, task="answer"),
)


def rows(bench: Bench, tasks: int, idle_seconds: float) -> list[Row]:
    """Ours with its bounds, then the others; and what Moorage's own worker, with all it does beside, costs idle."""
    found = []
    for contender in (OURS, *OTHERS):
        delays, share = _measure(bench, contender, tasks, idle_seconds)
        middle, worst = median(delays) * 1000, quantiles(delays, n=100)[98] * 1000
        own = contender is OURS
        found += [
            Row(
                f"{contender.name}: idle, sent until done, median",
                f"{middle:.1f} ms",
                "under 5 ms" if own else "",
                middle < MOST_MEDIAN_MILLISECONDS if own else None,
            ),
            Row(f"  99th percentile of {tasks}", f"{worst:.1f} ms"),
            _cpu_row("  idle CPU", share, bounded=own),
        ]
    return [*found, _cpu_row("Moorage's own worker: idle CPU", _moorage_share(bench, idle_seconds), bounded=True)]


def _cpu_row(name: str, share: float, *, bounded: bool) -> Row:
    return Row(
        name,
        f"{share:.2%} of a core",
        "under 0.5 %" if bounded else "",
        share < MOST_CPU_SHARE if bounded else None,
    )


def _measure(bench: Bench, contender: Contender, tasks: int, idle_seconds: float) -> tuple[list[float], float]:
    """Seconds of each task, and the share of a core that goes without any."""
    message = bench.message(contender)
    bench.redis.flushdb()
    with processes.running(contender.command(), bench.variables(contender), bench.log(contender)) as worker:
        _ask(bench, contender, message)
        delays = []
        for _ in range(tasks):
            time.sleep(GAP_SECONDS)
            delays.append(_ask(bench, contender, message))
        return delays, _idle_share(worker, idle_seconds)


def _moorage_share(bench: Bench, idle_seconds: float) -> float:
    message = bench.message(MOORAGE)
    bench.redis.flushdb()
    backlogs.fill(MOORAGE.backlog(), bench.redis, message, 1)
    with processes.running(MOORAGE.command(), bench.variables(MOORAGE), bench.log(MOORAGE)) as worker:
        give_up_at = time.monotonic() + ANSWER_SECONDS
        while MOORAGE.backlog().remaining(bench.redis):
            if time.monotonic() > give_up_at:
                raise TimeoutError(f"{MOORAGE.name} does not come up; see {bench.log(MOORAGE)}")
            time.sleep(GAP_SECONDS)
        return _idle_share(worker, idle_seconds)


def _idle_share(worker: processes.Worker, seconds: float) -> float:
    time.sleep(SETTLE_SECONDS)
    before = worker.cpu_seconds()
    time.sleep(seconds)
    return (worker.cpu_seconds() - before) / seconds


def _ask(bench: Bench, contender: Contender, message: bytes) -> float:
    """Seconds until one task's answer."""
    began_at = time.perf_counter()
    backlogs.fill(contender.backlog(), bench.redis, message, 1)
    if bench.redis.blpop(["answers"], timeout=ANSWER_SECONDS) is None:
        raise TimeoutError(f"{contender.name} does not answer; see {bench.log(contender)}")
    return time.perf_counter() - began_at
