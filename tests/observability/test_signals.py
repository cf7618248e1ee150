"""Receivers told directly of what is rare: failures told twice, missing details, times to come."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from celery import signals as celery_signals

from observability import signals
from observability.attempts import Attempt, Attempts
from observability.totals import Totals, decode

LogLines = Callable[[], list[dict[str, Any]]]


class Observed:
    """An observer without a worker, and what it counted."""

    def __init__(self) -> None:
        self.sums: Counter[str] = Counter()
        self.totals = Totals(self._push, flush_seconds=3600)
        self.observer = signals.TaskObserver(self.totals, "upload@h")
        self.task = SimpleNamespace(name="ingest", request=SimpleNamespace(id=None))

    def _push(self, batch: Mapping[str, float]) -> None:
        for field, amount in batch.items():
            name, labels = decode(field)
            self.sums[" ".join((name.removeprefix("celery_task_").removesuffix("_total"), *labels))] += int(amount)

    def received(self, task_id: str, **headers: Any) -> None:
        delivery = {"delivery_info": {"routing_key": "upload"}}
        request = SimpleNamespace(id=task_id, task_name="ingest", request_dict={**delivery, **headers})
        self.observer.on_received(request=request)

    def counted(self) -> dict[str, int]:
        self.totals.flush()
        return dict(self.sums)


@pytest.fixture
def observed(log_lines: LogLines) -> Iterator[Observed]:
    seen = Observed()
    yield seen
    seen.totals.close()


def test_a_hard_time_limit_is_one_failure_though_it_is_told_twice(observed: Observed, log_lines: LogLines) -> None:
    observed.received("t-1", retries=2, moorage_context={"request_id": "r-1"})
    observed.observer.on_failed(sender=observed.task, task_id="t-1", exception=TimeoutError(5))
    observed.task.request = SimpleNamespace(id="t-1", retries=2)
    observed.observer.on_failed(sender=observed.task, task_id="t-1", exception=TimeoutError(5))

    assert observed.counted() == {
        "received ingest upload@h upload": 1,
        "failed ingest upload@h upload TimeoutError": 1,
    }
    (line,) = [line for line in log_lines() if line["event"] == "task.failed"]
    assert (line["request_id"], line["attempt"]) == ("r-1", 3)


def test_each_attempt_may_fail(observed: Observed) -> None:
    for retries in (0, 1):
        observed.received("t-1", retries=retries)
        observed.observer.on_failed(sender=observed.task, task_id="t-1", exception=ValueError())

    assert observed.counted()["failed ingest upload@h upload ValueError"] == 2


def test_a_task_that_was_never_seen_here_is_counted_in_an_unknown_queue(observed: Observed) -> None:
    observed.observer.on_failed(sender=observed.task, task_id="t-9", exception=ValueError())

    assert observed.counted() == {"failed ingest upload@h unknown ValueError": 1}


def test_missing_delivery_details_are_no_obstacle(observed: Observed) -> None:
    request = SimpleNamespace(id="t-1", delivery_info=None, retries=None, eta="not a time", enqueued_at="x")
    observed.observer.on_revoked(sender=observed.task, request=request)
    observed.observer.on_rejected(message=SimpleNamespace(headers=None, delivery_info=None))
    observed.observer.on_before_publish()
    observed.observer.on_sent(sender="ingest")

    assert observed.counted() == {
        "revoked ingest upload@h unknown": 1,
        "rejected unknown upload@h unknown": 1,
        "sent ingest upload@h unknown": 1,
    }


def test_waiting_for_an_eta_is_not_waiting_for_a_worker() -> None:
    sent = 1_000.0
    eta = datetime.fromtimestamp(sent + 60, UTC)

    assert Attempt.of("t", "a", {"enqueued_at": sent}).ready_at == sent
    assert Attempt.of("t", "a", {"enqueued_at": sent, "eta": eta.isoformat()}).ready_at == sent + 60
    assert (
        Attempt.of("t", "a", {"enqueued_at": sent, "eta": eta.replace(tzinfo=None).isoformat()}).ready_at == sent + 60
    )
    assert Attempt.of("t", "a", {"enqueued_at": sent, "eta": (eta - timedelta(hours=1)).isoformat()}).ready_at == sent


def test_only_the_latest_attempts_are_remembered() -> None:
    remembered = Attempts(limit=2)
    for number in range(3):
        remembered.remember(Attempt(f"t-{number}", "a"))
    remembered.remember(Attempt("t-1", "b"))
    remembered.remember(Attempt("t-3", "a"))

    assert [remembered.find(f"t-{number}", 1) for number in (0, 2)] == [None, None]
    assert remembered.find("t-1", 1) == remembered.latest("t-1") == Attempt("t-1", "b")


def test_an_end_told_after_the_next_attempt_was_received_is_still_its_own(
    observed: Observed, log_lines: LogLines
) -> None:
    first = SimpleNamespace(id="t-1", retries=0, delivery_info={"routing_key": "upload"})
    observed.task.request = first
    observed.observer.on_started(sender=observed.task, task_id="t-1")
    observed.received("t-1", retries=1)
    observed.observer.on_retried(sender=observed.task, request=first, reason="later")

    line = log_lines()[-1]
    assert (line["event"], line["attempt"]) == ("task.retrying", 1)
    assert line["duration_seconds"] >= 0


def test_memory_of_failures_is_bounded_too() -> None:
    remembered = Attempts(limit=2)

    assert [remembered.fails_first(Attempt(f"t-{number}", "a")) for number in (0, 0, 1, 2, 0)] == [
        True,
        False,
        True,
        True,
        True,
    ]


@pytest.fixture
def counts(log_lines: LogLines) -> Iterator[Counter[str]]:
    """What this process, a publisher, counts in an application whose broker is its own memory."""
    found: Counter[str] = Counter()
    signals.attach(lambda batch: found.update(batch.keys()), node_name="api", flush_seconds=3600)
    yield found
    signals.detach()


def publish() -> dict[str, Any]:
    """Sends a task, and returns the headers it had."""
    headers: dict[str, Any] = {}

    def look(sender: str, **given: Any) -> None:
        headers.update(given["headers"])

    celery_signals.after_task_publish.connect(look, weak=False)
    try:
        Celery(broker="memory://", set_as_current=False).send_task("ingest", queue="upload")
    finally:
        celery_signals.after_task_publish.disconnect(look)
    return headers


def test_a_worker_s_child_process_counts_under_its_worker_s_name(counts: Counter[str]) -> None:
    celery_signals.worker_process_init.send(sender="w1@host")
    publish()
    signals.detach()

    assert counts == {'["celery_task_sent_total","ingest","w1@host","upload"]': 1}


def test_a_publisher_counts_what_it_sends_and_dates_it(counts: Counter[str]) -> None:
    headers = publish()
    signals.detach()

    assert counts == {'["celery_task_sent_total","ingest","api","upload"]': 1}
    assert abs(headers["enqueued_at"] - time.time()) < 60


def test_attaching_again_listens_once(counts: Counter[str]) -> None:
    batches: list[Mapping[str, float]] = []
    signals.attach(batches.append, node_name="api", flush_seconds=3600)
    publish()
    signals.detach()

    assert (counts, batches) == ({}, [{'["celery_task_sent_total","ingest","api","upload"]': 1.0}])


def test_nothing_is_heard_after_detaching(counts: Counter[str]) -> None:
    signals.detach()

    assert "enqueued_at" not in publish()
    assert counts == {}
