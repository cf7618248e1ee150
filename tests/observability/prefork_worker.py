"""A Celery application for a worker with child processes; its counts go to the list `batches` of the Valkey given."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping

import redis
import structlog
from celery import Celery

from observability import signals
from observability.logs import LogSettings, configure

URL = os.environ["PREFORK_TEST_URL"]
app = Celery("probe", broker=URL, backend=URL)
app.conf.update(task_default_queue="upload", worker_prefetch_multiplier=1)


def push(batch: Mapping[str, float]) -> None:
    redis.Redis.from_url(URL).lpush("batches", json.dumps(dict(batch)))


@app.task(name="add")
def add(x: int, y: int) -> int:
    structlog.get_logger("job").info("adding")
    return x + y


@app.task(name="stuck", time_limit=1)
def stuck() -> None:
    while True:
        pass


if __name__ == "__main__":
    configure(LogSettings(log_format="json", log_level="debug"), "worker", sys.stdout)
    signals.attach(push, node_name="starting", flush_seconds=0.05)
    app.worker_main(
        [
            "--quiet",
            "worker",
            "--pool",
            "prefork",
            "-c",
            "2",
            "-n",
            "upload@testhost",
            "--without-gossip",
            "--without-mingle",
        ]
    )
