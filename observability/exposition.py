"""Writes the page that Prometheus scrapes: what this process counted, and what is known of the whole installation.

Everything arrives as plain values, so that a scrape costs no round trip of its own here. Where the page is served from
several replicas, each shows the same totals: sum by instance only what starts with `moorage_`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence

import msgspec
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from observability import metrics
from observability.metrics import Metric
from observability.totals import decode


class ClusterSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the installation at one moment."""

    totals: Mapping[str, float]
    """Counts since ever, by the fields that `signals.py` hands on."""
    workers: Mapping[str, tuple[float, int]]
    """By node name: seconds since its last sign of life, and how many tasks it is running."""
    queue_lengths: Mapping[str, int]
    """Tasks waiting, by queue."""
    declared: Sequence[tuple[str, str]]
    """Every actor with its queue: their counts begin at 0, since a rate needs a first value."""
    up_within_seconds: float = 10.0
    """A worker silent for longer is down. It stays on the page as 0 for as long as it is among `workers`: an alert
    cannot fire on a series that has gone."""


async def render(registry: CollectorRegistry, cluster: ClusterSnapshot | None) -> tuple[bytes, str]:
    """The page and its content type. Without a snapshot, the installation's metrics are left out and said to be."""
    page = await asyncio.to_thread(lambda: generate_latest(registry) + generate_latest(_Cluster(cluster)))
    return page, CONTENT_TYPE_PLAIN_0_0_4


class _Cluster(Collector):
    def __init__(self, snapshot: ClusterSnapshot | None) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Family]:
        snapshot = self._snapshot
        yield GaugeMetricFamily(metrics.SNAPSHOT_UP.name, metrics.SNAPSHOT_UP.help, value=float(snapshot is not None))
        if snapshot is None:
            return
        counted = _by_metric(snapshot.totals)
        for metric in metrics.TASK_COUNTERS:
            yield _counter(metric, {**_zeros(metric, snapshot.declared), **counted.get(metric.name, {})})
        up = {name: age < snapshot.up_within_seconds for name, (age, _) in snapshot.workers.items()}
        active = {name: tasks if up[name] else 0 for name, (_, tasks) in snapshot.workers.items()}
        yield _gauge_by_name(metrics.WORKER_UP, up)
        yield _gauge_by_name(metrics.WORKER_TASKS_ACTIVE, active)
        yield _gauge_by_name(metrics.QUEUE_LENGTH, snapshot.queue_lengths)


Samples = Mapping[tuple[str, ...], float]


def _by_metric(totals: Mapping[str, float]) -> dict[str, dict[tuple[str, ...], float]]:
    """Totals sorted under their metrics. Fields of another version, which this one cannot place, are passed over."""
    label_counts = {metric.name: len(metric.labels) for metric in metrics.TASK_COUNTERS}
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for field, value in totals.items():
        try:
            name, labels = decode(field)
        except ValueError:
            continue
        if label_counts.get(name) == len(labels):
            found.setdefault(name, {})[labels] = value
    return found


def _zeros(metric: Metric, declared: Sequence[tuple[str, str]]) -> Samples:
    """A first value for every actor, under no worker's name (and, of failures, no exception's)."""
    no_more_labels = ("",) * (len(metric.labels) - 3)
    return {(actor, "", queue, *no_more_labels): 0.0 for actor, queue in declared}


def _counter(metric: Metric, samples: Samples) -> Family:
    family = CounterMetricFamily(metric.name, metric.help, labels=metric.labels)
    for labels in sorted(samples):
        family.add_metric(labels, samples[labels])
    return family


def _gauge_by_name(metric: Metric, values: Mapping[str, int]) -> Family:
    family = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
    for name in sorted(values):
        family.add_metric((name,), values[name])
    return family
