"""Every metric Moorage exports: name, kind, labels, unit and meaning, in this one place.

`LocalMetrics` holds those counted in this process. Those of the whole installation (`TASKS_…`, `WORKER_…`, `QUEUE_…`)
are counted by `signals.py`, added up outside, and written out by `exposition.py`. Their names are those of the
celery-exporter project, so that its dashboards and alerts work as they are.
"""

from __future__ import annotations

from typing import Literal

import msgspec
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics

REQUEST_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)
UPLOAD_BUCKETS = (0.05, 0.25, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0)

UploadKind = Literal["raw", "multipart"]
UploadOutcome = Literal["accepted", "rejected", "aborted"]


class Metric(msgspec.Struct, frozen=True):
    """A metric as it is declared. `unit` is what its value counts; `buckets` are a histogram's, in that unit."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    unit: str
    help: str
    buckets: tuple[float, ...] = ()


HTTP_REQUESTS = Metric(
    "moorage_http_requests_total",
    "counter",
    ("method", "route", "status"),
    "requests",
    "HTTP requests answered. 499 is a client that left before the answer was complete.",
)
HTTP_REQUEST_DURATION = Metric(
    "moorage_http_request_duration_seconds",
    "histogram",
    ("method", "route"),
    "seconds",
    "Time from the request's headers to the last byte of its answer.",
    REQUEST_BUCKETS,
)
HTTP_REQUESTS_ACTIVE = Metric(
    "moorage_http_requests_active", "gauge", (), "requests", "HTTP requests being answered now."
)
UPLOADS = Metric("moorage_uploads_total", "counter", ("kind", "outcome"), "uploads", "Uploads that have ended.")
UPLOAD_BYTES = Metric(
    "moorage_upload_bytes_total", "counter", ("kind",), "bytes", "Bytes received by uploads that have ended."
)
UPLOADS_ACTIVE = Metric("moorage_uploads_active", "gauge", (), "uploads", "Uploads being received now.")
UPLOAD_DURATION = Metric(
    "moorage_upload_duration_seconds",
    "histogram",
    ("kind",),
    "seconds",
    "Time from an upload's first byte to its end.",
    UPLOAD_BUCKETS,
)
VERIFY_FAILURES = Metric(
    "moorage_store_verify_failures_total",
    "counter",
    (),
    "blocks",
    "Blocks whose bytes no longer matched their hash when read. They were not served.",
)
BUILD_INFO = Metric("moorage_build_info", "gauge", ("version",), "", "Always 1; the label tells the version.")
SNAPSHOT_UP = Metric(
    "moorage_cluster_snapshot_up",
    "gauge",
    (),
    "",
    "Whether the celery_ metrics of this scrape could be read: 1, or 0 and they are left out.",
)

_TASK = ("name", "hostname", "queue_name")
TASKS_SENT = Metric("celery_task_sent_total", "counter", _TASK, "tasks", "Tasks sent to a queue.")
TASKS_RECEIVED = Metric("celery_task_received_total", "counter", _TASK, "tasks", "Tasks a worker took from a queue.")
TASKS_STARTED = Metric("celery_task_started_total", "counter", _TASK, "tasks", "Attempts begun.")
TASKS_SUCCEEDED = Metric("celery_task_succeeded_total", "counter", _TASK, "tasks", "Attempts that succeeded.")
TASKS_FAILED = Metric(
    "celery_task_failed_total", "counter", (*_TASK, "exception"), "tasks", "Tasks that failed for good, by exception."
)
TASKS_RETRIED = Metric("celery_task_retried_total", "counter", _TASK, "tasks", "Attempts that will be made again.")
TASKS_REVOKED = Metric("celery_task_revoked_total", "counter", _TASK, "tasks", "Tasks cancelled or expired.")
TASKS_REJECTED = Metric(
    "celery_task_rejected_total", "counter", _TASK, "tasks", "Messages refused: unreadable, or of an unknown task."
)
WORKER_UP = Metric("celery_worker_up", "gauge", ("hostname",), "", "Whether a worker shows signs of life.")
WORKER_TASKS_ACTIVE = Metric(
    "celery_worker_tasks_active", "gauge", ("hostname",), "tasks", "Tasks a worker is running now."
)
QUEUE_LENGTH = Metric("celery_queue_length", "gauge", ("queue_name",), "tasks", "Tasks waiting in a queue.")

TASK_COUNTERS = (
    TASKS_SENT,
    TASKS_RECEIVED,
    TASKS_STARTED,
    TASKS_SUCCEEDED,
    TASKS_FAILED,
    TASKS_RETRIED,
    TASKS_REVOKED,
    TASKS_REJECTED,
)


class LocalMetrics:
    """The metrics of this process, on a registry of their own."""

    def __init__(self, version: str) -> None:
        # A `…_created` gauge beside every series doubles the page, and nothing reads it.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._gauge(BUILD_INFO).labels(version).set(1)
        self.http_requests = self._counter(HTTP_REQUESTS)
        self.http_request_duration = self._histogram(HTTP_REQUEST_DURATION)
        self.http_requests_active = self._gauge(HTTP_REQUESTS_ACTIVE)
        self._uploads = self._counter(UPLOADS)
        self._upload_bytes = self._counter(UPLOAD_BYTES)
        self._uploads_active = self._gauge(UPLOADS_ACTIVE)
        self._upload_duration = self._histogram(UPLOAD_DURATION)
        self._verify_failures = self._counter(VERIFY_FAILURES)
        for kind in ("raw", "multipart"):
            self._upload_bytes.labels(kind)
            self._upload_duration.labels(kind)
            for outcome in ("accepted", "rejected", "aborted"):
                self._uploads.labels(kind, outcome)

    def upload_started(self) -> None:
        """An upload's first bytes are being read; `upload_finished` must follow, whatever happens."""
        self._uploads_active.inc()

    def upload_finished(
        self, kind: UploadKind, outcome: UploadOutcome, size_bytes: int, duration_seconds: float
    ) -> None:
        """An upload that was started has ended, after `size_bytes` received."""
        self._uploads_active.dec()
        self._uploads.labels(kind, outcome).inc()
        self._upload_bytes.labels(kind).inc(size_bytes)
        self._upload_duration.labels(kind).observe(duration_seconds)

    def block_damaged(self) -> None:
        """A block did not match its hash."""
        self._verify_failures.inc()

    def _counter(self, metric: Metric) -> Counter:
        return Counter(metric.name, metric.help, metric.labels, registry=self.registry)

    def _gauge(self, metric: Metric) -> Gauge:
        return Gauge(metric.name, metric.help, metric.labels, registry=self.registry)

    def _histogram(self, metric: Metric) -> Histogram:
        return Histogram(metric.name, metric.help, metric.labels, registry=self.registry, buckets=metric.buckets)
