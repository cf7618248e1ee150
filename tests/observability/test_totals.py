"""Counts reach their destination in batches, also when it fails for a while and across forks."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from observability import totals as totals_module
from observability.totals import Totals, decode, encode

A = encode("a_total", ("x",))


LogLines = Callable[[], list[dict[str, Any]]]


class Destination:
    """Adds up what it is given, refuses while told to, and lets tests wait for a sum."""

    def __init__(self) -> None:
        self.sums: Counter[str] = Counter()
        self.refusals = 0
        self.refusing = False
        self._changed = threading.Condition()

    def __call__(self, batch: Mapping[str, float]) -> None:
        with self._changed:
            if self.refusing:
                self.refusals += 1
                self._changed.notify_all()
                raise ConnectionError("gone")
            self.sums.update(dict(batch))
            self._changed.notify_all()

    def wait_until(self, *, refusals: int = 0, sums: Mapping[str, float] | None = None) -> None:
        with self._changed:
            wanted = sums or {}
            assert self._changed.wait_for(
                lambda: self.refusals >= refusals and all(self.sums[field] == value for field, value in wanted.items()),
                timeout=10,
            ), (self.refusals, self.sums)


def test_a_field_tells_its_metric_and_labels() -> None:
    assert decode(encode("celery_task_sent_total", ("add", 'we"ird@host', ""))) == (
        "celery_task_sent_total",
        ("add", 'we"ird@host', ""),
    )


@pytest.mark.parametrize("field", ["", "x", "{}", "[]", "[1]", '"a"', '["a", null]'])
def test_a_field_of_another_making_is_refused(field: str) -> None:
    with pytest.raises(ValueError):
        decode(field)


def test_counts_go_out_by_themselves_and_together() -> None:
    destination = Destination()
    totals = Totals(destination, flush_seconds=0.01)

    for _ in range(3):
        totals.add("a_total", "x")
    totals.add("a_total", "y", amount=2.5)

    destination.wait_until(sums={A: 3, encode("a_total", ("y",)): 2.5})
    totals.close()


def test_a_refused_batch_is_kept_and_warned_about_once(log_lines: LogLines) -> None:
    destination = Destination()
    destination.refusing = True
    totals = Totals(destination, flush_seconds=0.01)

    totals.add("a_total", "x")
    destination.wait_until(refusals=3)
    totals.add("a_total", "x")
    destination.refusing = False

    destination.wait_until(sums={A: 2})
    totals.close()
    assert [line["event"] for line in log_lines()] == ["metrics.push_failed", "metrics.push_recovered"]


def test_memory_is_bounded_while_nobody_takes_the_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(totals_module, "MAX_FIELDS", 3)
    destination = Destination()
    totals = Totals(destination, flush_seconds=60)

    for number in range(10):
        totals.add("a_total", str(number))
    totals.add("a_total", "0")
    totals.flush()

    assert destination.sums == {encode("a_total", (str(n),)): (2 if n == 0 else 1) for n in range(3)}
    totals.close()


def test_closing_hands_on_the_last_counts() -> None:
    destination = Destination()
    totals = Totals(destination, flush_seconds=60)
    totals.add("a_total", "x")

    totals.close()

    assert destination.sums == {A: 1}


def test_many_threads_lose_no_count() -> None:
    destination = Destination()
    totals = Totals(destination, flush_seconds=0.001)

    def count() -> None:
        for _ in range(5_000):
            totals.add("a_total", "x")

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    totals.close()

    assert destination.sums == {A: 20_000}


def test_a_forked_child_sends_its_own_counts_and_only_those() -> None:
    reader, writer = os.pipe()

    def push(batch: Mapping[str, float]) -> None:
        os.write(writer, repr((os.getpid(), dict(batch))).encode() + b"\n")

    totals = Totals(push, flush_seconds=0.01)
    held = (totals._start_lock, totals._flush_lock)
    for lock in held:
        lock.acquire()  # as another thread might hold it at the moment of the fork
    totals._pending["a_total", ("x",)] = 5.0
    child = os.fork()
    if child == 0:
        totals.add("a_total", "x")
        threading.Event().wait(10)  # ended by the parent, once the thread of this child has sent its count
        os._exit(1)
    for lock in held:
        lock.release()

    line = os.read(reader, 1_000)
    os.kill(child, 9)
    os.waitpid(child, 0)
    totals._pending.clear()
    totals.close()
    os.close(reader)
    os.close(writer)

    assert line == repr((child, {A: 1.0})).encode() + b"\n"
