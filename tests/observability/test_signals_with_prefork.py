"""A worker with child processes counts each event once, whichever process it happens in."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery

from observability.totals import encode

ROOT = Path(__file__).parents[2]
WORKER = Path(__file__).with_name("prefork_worker.py")


def total(outcome: str, actor: str, *more_labels: str) -> str:
    return encode(f"celery_task_{outcome}_total", (actor, "upload@testhost", "upload", *more_labels))


class PreforkWorker:
    """The worker's process, its counts and its log."""

    def __init__(self, url: str, log: Path) -> None:
        self.app = Celery("client", broker=url, backend=url, set_as_current=False)
        self.sums: Counter[str] = Counter()
        self._log = log
        self._broker = redis.Redis.from_url(url)
        self._process = subprocess.Popen(
            [sys.executable, str(WORKER)],
            env={**os.environ, "PREFORK_TEST_URL": url, "PYTHONPATH": str(ROOT)},
            stdout=log.open("wb"),
            stderr=subprocess.STDOUT,
        )

    def wait_for(self, field: str, count: int) -> None:
        deadline = time.monotonic() + 30
        while self.sums[field] < count:
            assert time.monotonic() < deadline, (field, self.sums, self._log.read_text())
            self._take(timeout=1)

    def stop(self) -> None:
        """Ends it in order, and takes the counts it hands on at the end."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        self._process.wait(30)
        while self._take(timeout=0.01):
            pass

    def lines(self) -> list[dict[str, Any]]:
        lines = self._log.read_text().splitlines()
        # Said by Celery's signal handler, straight to the terminal, whatever the logging.
        return [json.loads(line) for line in lines if line not in ("", "worker: Warm shutdown (MainProcess)")]

    def _take(self, timeout: float) -> bool:
        batch = self._broker.brpop(["batches"], timeout=timeout)
        if batch:
            self.sums.update({field: int(amount) for field, amount in json.loads(batch[1]).items()})
        return bool(batch)


@pytest.fixture
def worker(valkey_url: str, tmp_path: Path) -> Iterator[PreforkWorker]:
    started = PreforkWorker(valkey_url, tmp_path / "log")
    yield started
    started.stop()


@pytest.mark.slow
def test_children_and_their_parent_count_together_and_a_hard_limit_is_one_failure(worker: PreforkWorker) -> None:
    worker.app.send_task("stuck", queue="upload", retries=2)
    for number in range(6):
        worker.app.send_task("add", (number, 1), queue="upload")

    worker.wait_for(total("succeeded", "add"), 6)
    worker.wait_for(total("failed", "stuck", "TimeLimitExceeded"), 1)
    worker.stop()

    assert worker.sums == {
        total("received", "add"): 6,
        total("started", "add"): 6,
        total("succeeded", "add"): 6,
        total("received", "stuck"): 1,
        total("started", "stuck"): 1,
        total("failed", "stuck", "TimeLimitExceeded"): 1,
    }
    in_children = [line for line in worker.lines() if line["event"] == "adding"]
    assert len(in_children) == 6
    assert all(line["role"] == "worker" and line["actor"] == "add" for line in in_children)
    (failed,) = [line for line in worker.lines() if line["event"] == "task.failed"]
    assert failed["attempt"] == 3
    assert failed["pid"] not in {line["pid"] for line in in_children}
