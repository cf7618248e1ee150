"""What the weather's tests share: a server of the test's own, and a ledger on another, where the sun always shines."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.weather.fleet import Ledger
from tests.weather.servers import Server


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where servers and workers write; its path is short, as a socket's must be."""
    with tempfile.TemporaryDirectory(prefix="weather-") as name:
        yield Path(name)


@pytest.fixture
def server(folder: Path) -> Iterator[Server]:
    """A Valkey 9 that writes down every change before it answers."""
    started = Server(folder / "server")
    started.start()
    yield started
    started.kill()


@pytest.fixture
def ledger(redis_url: str) -> Ledger:
    """What the tasks of this test did."""
    return Ledger(redis_url)
