"""The pool's test application, pointed at the tests' server, and one worker that most tests share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.real_valkey import RealValkey
from tests.tasks.pool import pool_base, pool_worker
from tests.tasks.pool.pool_worker import PoolWorker


@pytest.fixture(scope="session", autouse=True)
def pool_broker(shared_valkey: RealValkey) -> Iterator[None]:
    """The application sends to the tests' server."""
    app = pool_base.use(shared_valkey.url().removeprefix("unix://").partition("?")[0])
    yield
    # Results that pytest still holds would look for the server when they are collected, and it is gone by then.
    backend: Any = app.backend
    backend.remove_pending_result = lambda result: result


@pytest.fixture(scope="session")
def worker(pool_broker: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PoolWorker]:
    """A worker of the queue `pool` with the defaults. Tests that stop or cripple one start their own."""
    with pool_worker.running(tmp_path_factory.mktemp("pool"), "pool") as running:
        yield running
