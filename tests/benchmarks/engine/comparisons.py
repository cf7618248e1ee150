"""Ours beside the others' rates: each round every contender once, and of the rounds the median."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from statistics import median

from tests.benchmarks.engine import contenders as who
from tests.benchmarks.engine.contenders import Contender
from tests.benchmarks.engine.rates import Bench, Rate, middle
from tests.benchmarks.installation import Row

Rounds = dict[Contender, list[Rate]]

PLAIN = (
    who.STOCK_PREFORK,
    who.STOCK_THREADS,
    who.POOL_ALONE,
    who.TRANSPORT_PREFORK,
    who.OURS,
    who.DRAMATIQ_8,
    who.DRAMATIQ_64,
    who.TASKIQ,
    who.ARQ,
)
LOGGED = (who.MOORAGE, who.DRAMATIQ_PROMETHEUS_8, who.DRAMATIQ_PROMETHEUS_64)
SCALED = (who.OURS, who.DRAMATIQ_8)
LEAST_PLAIN, LEAST_LOGGED, LEAST_SCALING = 1.0, 0.9, 1.8


def plain(bench: Bench, rounds: int) -> list[Row]:
    """No-ops with logs at WARNING on all sides."""
    measured = _rounds(bench, PLAIN, rounds)
    return [*_figures(measured), *_beside(measured, who.OURS, (who.DRAMATIQ_8, who.DRAMATIQ_64), LEAST_PLAIN)]


def logged(bench: Bench, rounds: int) -> list[Row]:
    """No-ops with logs at INFO and metrics; ours with its records and results too."""
    measured = _rounds(bench, LOGGED, rounds)
    return [*_figures(measured), *_beside(measured, who.MOORAGE, LOGGED[1:], LEAST_LOGGED)]


def two_processes(bench: Bench, rounds: int) -> list[Row]:
    """Two worker processes on one queue beside one."""
    rows = []
    ratios: dict[Contender, list[float]] = {contender: [] for contender in SCALED}
    for _ in range(rounds):
        for contender in SCALED:
            one, two = bench.rate(contender, 1), bench.rate(contender, 2)
            _tell(contender, two)
            ratios[contender].append(two.per_second / one.per_second)
    for contender, found in ratios.items():
        own = contender is who.OURS
        ratio = median(found)
        rows.append(
            Row(
                f"two processes beside one: {contender.name}",
                f"{ratio:.2f} x",
                f"at least {LEAST_SCALING} x" if own else "",
                ratio >= LEAST_SCALING if own else None,
            )
        )
    return rows


def _rounds(bench: Bench, contenders: Sequence[Contender], rounds: int) -> Rounds:
    measured: Rounds = {contender: [] for contender in contenders}
    for _ in range(rounds):
        for contender in contenders:
            measured[contender].append(bench.rate(contender))
            _tell(contender, measured[contender][-1])
    return measured


def _figures(measured: Rounds) -> list[Row]:
    rows = []
    for contender, found in measured.items():
        rate = middle(found)
        rows.append(Row(contender.name, f"{rate.per_second:,.0f} /s, {rate.cpu_us:,.0f} µs"))
    return rows


def _beside(measured: Rounds, own: Contender, peers: Sequence[Contender], least: float) -> list[Row]:
    """Ours beside the peer that does best, for each second of processor time and for each of the clock."""
    ours, theirs = middle(measured[own]), {peer: middle(measured[peer]) for peer in peers}
    thriftiest = max(peers, key=lambda peer: theirs[peer].per_cpu_second)
    fastest = max(peers, key=lambda peer: theirs[peer].per_second)
    per_core = ours.per_cpu_second / theirs[thriftiest].per_cpu_second
    by_clock = ours.per_second / theirs[fastest].per_second
    return [
        Row(f"  per core, beside {thriftiest.name}", f"{per_core:.2f} x", f"at least {least} x", per_core >= least),
        Row(f"  one process, beside {fastest.name}", f"{by_clock:.2f} x"),
    ]


def _tell(contender: Contender, rate: Rate) -> None:
    print(f"  {contender.name}: {rate.per_second:,.0f} /s, {rate.cpu_us:,.0f} µs", file=sys.stderr)
