"""Fixtures of the tests of the command line, the supervisor and the embedded broker."""

from __future__ import annotations

import itertools
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import structlog

from service import errors, gateway
from tasks.settings import TaskSettings
from tests.observability.conftest import LogLines, logging_put_back
from tests.real_valkey import DATABASES, RealValkey
from tests.service.child_programs import CapturedLog
from tests.service.fake_moorage import FakeMoorage, running_fake
from tests.service.served import Served, served


@pytest.fixture
def captured() -> CapturedLog:
    return CapturedLog()


@pytest.fixture
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], dict[str, str]]:
    """An environment whose runtime folder is this test's own, so that no socket is shared with a real installation."""
    folder = tmp_path_factory.mktemp("run")
    return lambda: {**os.environ, "XDG_RUNTIME_DIR": str(folder)}


@pytest.fixture(scope="session")
def bytecode(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Lets programs share compiled modules where the environment forbids writing them: five parts start at once."""
    return {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(tmp_path_factory.mktemp("bytecode"))}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture(scope="session")
def listening_fake() -> Iterator[FakeMoorage]:
    with running_fake() as fake:
        yield fake


@pytest.fixture
def moorage(listening_fake: FakeMoorage) -> FakeMoorage:
    """A fake server that has nothing scripted and has seen nothing yet."""
    listening_fake.script.clear()
    listening_fake.seen.clear()
    return listening_fake


@pytest.fixture
def log_lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[LogLines]:
    """The lines logged during one test."""
    with logging_put_back():
        lines = LogLines()
        # A logger that was used before writes where it wrote first.
        for module in (errors, gateway):
            monkeypatch.setattr(module, "log", structlog.get_logger(module.__name__))
        yield lines


_module_databases = itertools.count(DATABASES - 1, -1)
"""From the end, where the tests that take one each do not come."""


@pytest.fixture(scope="module")
def edge(shared_valkey: RealValkey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A running application that the tests of a module share; each has owners of its own."""
    redis_url = shared_valkey.url(next(_module_databases))
    with served(TaskSettings(data=tmp_path_factory.mktemp("edge"), redis_url=redis_url)) as running:
        yield running


@pytest.fixture
def ann(edge: Served) -> Iterator[httpx.Client]:
    """A client with every scope, whose owner this test has for itself."""
    with edge.client(edge.key(f"ann-{uuid.uuid4()}")) as client:
        yield client


@pytest.fixture
def bob(edge: Served) -> Iterator[httpx.Client]:
    """Another owner."""
    with edge.client(edge.key(f"bob-{uuid.uuid4()}")) as client:
        yield client
