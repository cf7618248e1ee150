"""A real worker on a real broker: each outcome is counted once, and each line about a task names its request."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import pytest
import structlog
from celery import Celery, Task
from celery.contrib.testing.worker import start_worker
from celery.exceptions import Reject

from observability import context, signals
from observability.totals import decode


class LogLines(Protocol):
    """What the fixture of that name gives."""

    def __call__(self) -> list[dict[str, Any]]: ...

    def forget(self) -> None: ...


NODE = "upload@testhost"

# redis-py deprecates what Celery calls for each result; as a warning it would be a log line of each task.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


class Totals:
    """Adds up what is pushed, and lets a test wait for a sum."""

    def __init__(self) -> None:
        self._sums: Counter[tuple[str, tuple[str, ...]]] = Counter()
        self._changed = threading.Condition()

    def push(self, batch: Mapping[str, float]) -> None:
        with self._changed:
            for field, amount in batch.items():
                self._sums[decode(field)] += int(amount)
            self._changed.notify_all()

    def forget(self) -> None:
        with self._changed:
            self._sums.clear()

    def wait_for(self, outcome: str, actor: str, count: int, *more_labels: str, node: str = NODE) -> None:
        key = (f"celery_task_{outcome}_total", (actor, node, "upload", *more_labels))
        with self._changed:
            assert self._changed.wait_for(lambda: self._sums[key] >= count, timeout=10), (key, self._sums)
            assert self._sums[key] == count

    def of(self, actor: str) -> dict[str, int]:
        """Everything counted of an actor, by the metric's short name."""
        with self._changed:
            found: Counter[str] = Counter()
            for (name, labels), amount in self._sums.items():
                if labels[0] == actor:
                    found[name.removeprefix("celery_task_").removesuffix("_total")] += amount
            return dict(found)


@pytest.fixture(scope="module")
def observed(module_log_lines: LogLines) -> Iterator[Totals]:
    """Observes this process, which is publisher and worker at once."""
    summed = Totals()
    signals.attach(summed.push, node_name="api", quiet_actors=["tick"], flush_seconds=0.01)
    yield summed
    signals.detach()


@pytest.fixture(scope="module", params=["threads", pytest.param("solo", marks=pytest.mark.slow)])
def worker(valkey_url: str, observed: Totals, request: pytest.FixtureRequest) -> Iterator[Any]:
    app = Celery("probe", broker=valkey_url, backend=valkey_url, set_as_current=False)
    app.conf.update(task_default_queue="upload", result_expires=60)
    declare(app)
    with start_worker(
        app, pool=request.param, hostname=NODE, perform_ping_check=False, shutdown_timeout=20
    ) as controller:
        yield controller


@pytest.fixture
def app(worker: Any) -> Celery:
    app: Celery = worker.app
    return app


@pytest.fixture
def log_lines(module_log_lines: LogLines) -> LogLines:
    """The lines of this test alone."""
    module_log_lines.forget()
    return module_log_lines


@pytest.fixture
def totals(observed: Totals, log_lines: LogLines) -> Totals:
    """The counts of this test alone: every test waits for the last event it causes."""
    observed.forget()
    context.clear()
    return observed


def declare(app: Celery) -> None:
    @app.task(name="add", shared=False)
    def add(x: int, y: int) -> int:
        structlog.get_logger("job").info("adding", sum=x + y)
        return x + y

    @app.task(name="tick", shared=False)
    def tick() -> None:
        pass

    @app.task(name="fail", shared=False)
    def fail() -> None:
        raise ValueError("api_key=k-1 was refused")

    @app.task(name="flaky", shared=False, bind=True, max_retries=3)
    def flaky(self: Task[Any, Any]) -> int:
        if self.request.retries < 2:
            raise self.retry(countdown=0, exc=OSError("later"))
        return int(self.request.retries)

    @app.task(name="refuse", shared=False, acks_late=True)
    def refuse() -> None:
        raise Reject("no", requeue=False)


def lines_about(log_lines: LogLines, actor: str) -> list[dict[str, Any]]:
    return [line for line in log_lines() if line["logger"] == "moorage.tasks" and line["actor"] == actor]


def test_success_is_counted_at_each_step(app: Celery, totals: Totals) -> None:
    for number in range(5):
        app.tasks["add"].delay(number, 1)

    totals.wait_for("succeeded", "add", 5)
    totals.wait_for("received", "add", 5)
    totals.wait_for("started", "add", 5)
    assert totals.of("add") == {"sent": 5, "received": 5, "started": 5, "succeeded": 5}


def test_a_failure_is_counted_by_its_exception(app: Celery, totals: Totals, log_lines: LogLines) -> None:
    for _ in range(3):
        app.tasks["fail"].delay()

    totals.wait_for("failed", "fail", 3, "ValueError")
    assert totals.of("fail") == {"sent": 3, "received": 3, "started": 3, "failed": 3}
    failed = [line for line in lines_about(log_lines, "fail") if line["event"] == "task.failed"]
    assert [(line["error_type"], line["error"]) for line in failed] == [("ValueError", "api_key=*** was refused")] * 3


def test_retries_are_counted_apart_from_the_end(app: Celery, totals: Totals, log_lines: LogLines) -> None:
    context.bind({"request_id": "r-flaky"})
    app.tasks["flaky"].delay()

    totals.wait_for("succeeded", "flaky", 1)
    assert totals.of("flaky") == {"sent": 3, "received": 3, "started": 3, "retried": 2, "succeeded": 1}
    told = [(line["event"], line["attempt"], line["request_id"]) for line in lines_about(log_lines, "flaky")]
    assert [word for word in told if word[0] != "task.started"] == [
        ("task.retrying", 1, "r-flaky"),
        ("task.retrying", 2, "r-flaky"),
        ("task.succeeded", 3, "r-flaky"),
    ]


def test_a_rejected_message_counts_as_failed(app: Celery, totals: Totals) -> None:
    app.tasks["refuse"].delay()

    totals.wait_for("failed", "refuse", 1, "Reject")
    assert totals.of("refuse") == {"sent": 1, "received": 1, "started": 1, "failed": 1}


def test_expired_and_revoked_tasks_are_revoked_and_never_received(
    app: Celery, totals: Totals, worker: Any, log_lines: LogLines
) -> None:
    app.tasks["add"].apply_async((1, 2), expires=datetime.now(UTC) - timedelta(hours=1))
    totals.wait_for("revoked", "add", 1)
    worker.state.revoked.add("cancelled-id")
    app.tasks["add"].apply_async((1, 2), task_id="cancelled-id")
    totals.wait_for("revoked", "add", 2)

    assert totals.of("add") == {"sent": 2, "revoked": 2}
    assert [line["reason"] for line in lines_about(log_lines, "add")] == ["expired", "cancelled"]


def test_messages_of_unknown_tasks_are_counted_under_no_name_of_theirs(app: Celery, totals: Totals) -> None:
    for number in range(3):
        app.send_task(f"nobody.knows.{number}")

    totals.wait_for("rejected", "unknown", 3)
    assert totals.of("unknown") == {"rejected": 3}


def test_every_line_about_a_task_names_the_request_it_came_from(
    app: Celery, totals: Totals, log_lines: LogLines
) -> None:
    structlog.contextvars.bind_contextvars(request_id="r-1", owner_id="o-1", path="stays here")
    first = app.tasks["add"].delay(1, 2)
    totals.wait_for("succeeded", "add", 1)
    context.clear()
    app.tasks["add"].delay(3, 4)
    totals.wait_for("succeeded", "add", 2)

    of_first = [line for line in log_lines() if line.get("task_id") == first.id]
    assert [line["event"] for line in of_first] == ["task.started", "adding", "task.succeeded"]
    for line in of_first:
        words = {name: line[name] for name in ("request_id", "owner_id", "actor", "attempt")}
        assert words == {"request_id": "r-1", "owner_id": "o-1", "actor": "add", "attempt": 1}
        assert "path" not in line
    done = of_first[-1]
    assert 0 <= done["duration_seconds"] < 20
    assert 0 <= done["wait_seconds"] < 20
    assert len([line for line in log_lines() if line.get("request_id")]) == 3


def test_quiet_actors_are_counted_but_logged_at_debug(app: Celery, totals: Totals, log_lines: LogLines) -> None:
    app.tasks["tick"].delay()

    totals.wait_for("succeeded", "tick", 1)
    assert {line["level"] for line in lines_about(log_lines, "tick")} == {"debug"}


def test_celery_leaves_the_log_as_it_is(app: Celery, totals: Totals, worker: Any, log_lines: LogLines) -> None:
    app.tasks["add"].delay(1, 1)
    totals.wait_for("succeeded", "add", 1)

    assert {line["role"] for line in log_lines()} == {"test"}
    assert "celery.worker.strategy" not in {line["logger"] for line in log_lines()}
