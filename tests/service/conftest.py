"""Fixtures of the tests of the command line, the supervisor and the embedded broker."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from child_programs import CapturedLog
from fake_moorage import FakeMoorage, running_fake


@pytest.fixture
def captured() -> CapturedLog:
    return CapturedLog()


@pytest.fixture
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], dict[str, str]]:
    """An environment whose runtime folder is this test's own, so that no socket is shared with a real installation."""
    folder = tmp_path_factory.mktemp("run")
    return lambda: {**os.environ, "XDG_RUNTIME_DIR": str(folder)}


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
