"""One running Moorage for the tests that can share it, and how to start others."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.end_to_end.moored import Moored

SETTINGS = {"MOORAGE_LEASE_SECONDS": "3", "MOORAGE_RESEND_AFTER_SECONDS": "1", "MOORAGE_MIN_FREE_BYTES": "0"}
"""So that what is lost is found within seconds. Nothing else differs from what users run."""


@pytest.fixture(scope="session")
def environ(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of `moorage up`: nobody's settings but ours, a runtime folder of its own, shared bytecode."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("MOORAGE_", "REDIS_", "CELERY_"))
    }
    bytecode = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(tmp_path_factory.mktemp("bytecode"))}
    with tempfile.TemporaryDirectory(prefix="mr-") as runtime:  # short: a socket's path may have 107 bytes
        yield inherited | bytecode | SETTINGS | {"XDG_RUNTIME_DIR": runtime}


@pytest.fixture
def start(environ: dict[str, str], tmp_path: Path) -> Iterator[Callable[[], Moored]]:
    """Starts `moorage up` on the test's own data folder, as often as it likes."""
    started: list[Moored] = []

    def start_one() -> Moored:
        started.append(Moored(tmp_path / "data", environ))
        return started[-1]

    yield start_one
    for moored in started:
        moored.end()


@pytest.fixture(scope="session")
def moored(environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moored]:
    """A running Moorage that tests share. Whoever kills a part of it waits until it is whole again."""
    running = Moored(tmp_path_factory.mktemp("moored") / "data", environ)
    yield running
    running.end()


@pytest.fixture
def client(moored: Moored) -> Iterator[httpx.Client]:
    """The owner's client of the shared Moorage."""
    with moored.client() as opened:
        yield opened
