"""Quick lines are those that structlog's chain would have written, byte for byte."""

from __future__ import annotations

import io
import re
from types import SimpleNamespace
from typing import Any, Literal

import pytest
import structlog

from observability import context
from observability.logs import LogSettings, configure, quick_lines
from observability.quick_lines import encode_words
from observability.signals import TaskObserver
from observability.totals import Totals

TIME = re.compile(r'"timestamp":"[^"]+"')


@pytest.fixture
def stream(clean_logging: None) -> io.StringIO:
    stream = io.StringIO()
    configure(LogSettings(log_format="json"), 'a "role"', stream)
    return stream


@pytest.mark.parametrize(
    "words",
    [
        {"task_id": "t-1", "actor": "ingest", "attempt": 1},
        {"owner_id": "Jürgen ☃ \x1b", "request_id": 'a "quote" \\', "task_id": "t", "actor": "a", "attempt": 12},
        {"owner_id": "redis://:hunter2@db/0", "request_id": "token=abc", "task_id": "ipfs_gw_abc", "lease_token": "x"},
        {"owner_id": "half a pair \udce9", "task_id": "t"},
    ],
    ids=["plain", "escapes", "secrets", "surrogates"],
)
@pytest.mark.parametrize(
    "numbers",
    [{}, {"wait_seconds": 0.0}, {"duration_seconds": 1e-06, "wait_seconds": 86_400.123456}],
    ids=["none", "zero", "two"],
)
def test_both_write_the_same(stream: io.StringIO, words: dict[str, Any], numbers: dict[str, float]) -> None:
    quick = quick_lines("moorage.tasks")
    assert quick is not None
    encoded = encode_words(words)

    structlog.get_logger("moorage.tasks").info("task.started", **words, **numbers)
    if encoded:
        quick.say("task.started", encoded, numbers)
        chain, other = TIME.sub("", stream.getvalue()).splitlines()
        assert chain == other
    else:
        assert "\\ud" in stream.getvalue()  # the chain alone knows how


@pytest.mark.parametrize(("log_format", "log_level"), [("console", "info"), ("json", "warning")])
def test_people_and_those_who_want_less_are_left_to_the_chain(
    clean_logging: None, log_format: Literal["console", "json"], log_level: Literal["info", "warning"]
) -> None:
    configure(LogSettings(log_format=log_format, log_level=log_level), "api", io.StringIO())

    assert quick_lines("moorage.tasks") is None


class Observed:
    """A task that an observer is told of."""

    def __init__(self) -> None:
        self._totals = Totals(lambda batch: None, flush_seconds=3600)
        self._observer = TaskObserver(self._totals, "upload@h")
        headers = {"id": "t-1", "retries": 1, "moorage_context": {"request_id": "r-1"}, "enqueued_at": 1.0}
        self._task = SimpleNamespace(name="ingest", request=SimpleNamespace(**headers))

    def run(self, **bound_in_the_body: str) -> None:
        self._observer.on_started(sender=self._task, task_id="t-1")
        structlog.contextvars.bind_contextvars(**bound_in_the_body)
        self._observer.on_succeeded(sender=self._task)
        self._observer.on_finished()
        self._totals.close()


def lines_of(stream: io.StringIO) -> list[str]:
    """The lines without what differs from one run to the next."""
    return re.sub(r'("(?:timestamp|\w+_seconds)"):[^,}]+', r"\1", stream.getvalue()).splitlines()


def test_an_attempt_s_lines_are_the_same_with_and_without_them(
    stream: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    Observed().run()
    quick = lines_of(stream)
    stream.truncate(0)
    stream.seek(0)
    monkeypatch.setattr("observability.signals.quick_lines", lambda logger: None)
    Observed().run()

    assert quick == lines_of(stream)
    assert ["task.started" in quick[0], "task.succeeded" in quick[1], '"request_id":"r-1"' in quick[1]] == [True] * 3


def test_what_the_body_binds_is_said_with_its_success(stream: io.StringIO) -> None:
    Observed().run(blocks="many")

    started, succeeded = stream.getvalue().splitlines()
    assert '"blocks"' not in started
    assert '"blocks":"many"' in succeeded
    assert not context.is_bound()
