"""A lost connection to the broker: what runs goes on, what waits is handed back, and the worker takes up its work."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest
from celery import Task

from tests.tasks.pool import pool_app, pool_base, pool_lasting, pool_worker
from tests.tasks.pool.pool_base import read_notes
from tests.tasks.pool.pool_worker import noted, until

ON_LOOP_AND_IN_THREAD = [pool_lasting.sleeps, pytest.param(pool_lasting.sleeps_in_thread, marks=pytest.mark.slow)]


def client_ids() -> set[str]:
    """Everybody who is connected to the server."""
    clients: Any = pool_base.notes().client_list()
    return {client["id"] for client in clients}


def cut(ids: set[str]) -> None:
    """Cuts the connections of these clients."""
    for client_id in ids:
        pool_base.notes().client_kill_filter(_id=client_id)


def held(queue: str) -> int:
    """How many messages of the queue wait or are held."""
    redis = pool_base.notes()
    waiting: Any = redis.llen(queue)
    unacked: Any = redis.hvals("unacked")
    return int(waiting) + sum(queue in message for message in unacked)


@pytest.mark.parametrize("task", ON_LOOP_AND_IN_THREAD)
def test_on_our_transport_a_run_outlives_the_connection_and_is_acknowledged_later(
    tmp_path: Path, task: Task[Any, Any]
) -> None:
    queue, before = uuid.uuid4().hex, client_ids()
    with pool_worker.running(tmp_path, queue, "-c", "1", POOL_TEST_TRANSPORT="lossless") as worker:
        result = task.apply_async((4.0,), queue=queue)
        noted(result, "begun")
        waiting = pool_app.add.apply_async((1, 2), queue=queue)
        until(lambda: held(queue) == 2)
        cut(client_ids() - before)
        until(lambda: "Connection to broker lost" in worker.log)
        assert waiting.get(20) == 3
        until(lambda: held(queue) == 0)
    assert result.state == "SUCCESS"
    assert read_notes(result.id).count("begun") == 1


@pytest.mark.slow
def test_on_a_stock_transport_the_worker_goes_on_too(tmp_path: Path) -> None:
    queue, before = uuid.uuid4().hex, client_ids()
    with pool_worker.running(tmp_path, queue, "-c", "2") as worker:
        result = pool_lasting.sleeps.apply_async((2.0,), queue=queue)
        noted(result, "begun")
        cut(client_ids() - before)
        until(lambda: "Connection to broker lost" in worker.log)
        assert pool_app.add.apply_async((1, 2), queue=queue).get(20) == 3
        assert result.get(20) == "slept"
        until(lambda: worker.inspect("stats")["pool"]["running"] == 0)
