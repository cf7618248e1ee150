"""Every line of a process is one JSON object, or one readable line on a terminal, without secrets."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import threading
import warnings
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
import structlog

from observability import context
from observability.logs import LogSettings, configure

LogLines = Callable[[], list[dict[str, Any]]]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_line_says_when_where_and_what(log_lines: LogLines) -> None:
    context.bind({"request_id": "r-1"})
    structlog.get_logger("tasks.dispatch").info("task.sent", queue="upload", size_bytes=3)

    (line,) = log_lines()

    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["timestamp"])
    assert abs(datetime.fromisoformat(line.pop("timestamp")).timestamp() - datetime.now().timestamp()) < 60
    assert line == {
        "level": "info",
        "event": "task.sent",
        "logger": "tasks.dispatch",
        "role": "test",
        "pid": os.getpid(),
        "queue": "upload",
        "size_bytes": 3,
        "request_id": "r-1",
    }


def test_lines_of_other_libraries_have_the_same_shape(log_lines: LogLines) -> None:
    context.bind({"request_id": "r-2"})
    logging.getLogger("kombu.connection").warning("lost %s, trying again", "the broker")

    (line,) = log_lines()

    assert line["event"] == "lost the broker, trying again"
    assert (line["level"], line["logger"], line["role"], line["request_id"]) == (
        "warning",
        "kombu.connection",
        "test",
        "r-2",
    )


def test_warnings_are_log_lines_too(log_lines: LogLines) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(False)
        logging.captureWarnings(True)
        warnings.warn("soon gone", stacklevel=1)

    assert [(line["logger"], "soon gone" in line["event"]) for line in log_lines()] == [("py.warnings", True)]


@pytest.mark.parametrize("logger", [structlog.get_logger("a"), logging.getLogger("b")], ids=["structlog", "stdlib"])
def test_an_exception_is_one_line_without_the_secrets_it_held(log_lines: LogLines, logger: logging.Logger) -> None:
    try:
        raise ConnectionError("no answer from redis://:hunter2@db:6379/0 for ipfs_gw_AbC-123_x")
    except ConnectionError:
        logger.exception("broker.lost")

    (line,) = log_lines()

    assert line["level"] == "error"
    assert "Traceback" in line["exception"]
    assert "no answer from redis://***@db:6379/0 for ipfs_gw_***" in line["exception"]
    assert "hunter2" not in json.dumps(line)
    assert "AbC-123" not in json.dumps(line)


def test_values_that_json_does_not_know_are_written_as_text(log_lines: LogLines) -> None:
    structlog.get_logger("a").info("odd", name="caf\udce9", error=KeyError("x"), many={1: {2}}, nan=float("nan"))

    (line,) = log_lines()

    assert line["name"] == "caf\udce9"
    assert line["error"] == "KeyError('x')"
    assert line["many"] == {"1": [2]}


def test_levels_below_the_setting_are_not_written(clean_logging: None) -> None:
    stream = io.StringIO()
    configure(LogSettings(log_format="json", log_level="warning"), "api", stream)

    structlog.get_logger("a").info("quiet")
    logging.getLogger("b").info("quiet")
    structlog.get_logger("a").warning("loud")
    logging.getLogger("b").warning("loud")

    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["loud", "loud"]


def test_libraries_that_say_it_twice_are_heard_from_warning_on(log_lines: LogLines) -> None:
    logging.getLogger("httpx").info("HTTP Request: POST http://kubo:5001/api/v0/pin/add")
    logging.getLogger("celery.app.trace").info("Task x succeeded")
    logging.getLogger("celery.app.trace").error("Task x raised unexpected")

    assert [line["event"] for line in log_lines()] == ["Task x raised unexpected"]


def test_auto_is_text_on_a_terminal_and_json_elsewhere(clean_logging: None) -> None:
    terminal, pipe = Terminal(), io.StringIO()
    for stream in (terminal, pipe):
        configure(LogSettings(), "api", stream)
        structlog.get_logger("a").info("api.started", port=8000)

    assert "\x1b[" in terminal.getvalue()
    assert json.loads(pipe.getvalue())["port"] == 8000


def test_console_text_shows_control_characters_instead_of_obeying_them(clean_logging: None) -> None:
    stream = io.StringIO()
    configure(LogSettings(log_format="console"), "api", stream)

    structlog.get_logger("a").info("http.request", path="/x\n2026 forged\x1b[2J\r", api_key="k")

    line = stream.getvalue()
    assert line.count("\n") == 1
    assert "\x1b" not in line
    assert "/x␊2026 forged␛[2J␍" in line
    assert "api_key=***" in line


def test_a_traceback_on_the_console_keeps_its_lines(clean_logging: None) -> None:
    stream = io.StringIO()
    configure(LogSettings(log_format="console"), "api", stream)
    try:
        raise ValueError("token=abc")
    except ValueError:
        structlog.get_logger("a").exception("failed")

    assert "\nValueError: token=***" in stream.getvalue()


def test_a_closed_stream_does_not_fail_the_work(clean_logging: None) -> None:
    stream = io.StringIO()
    configure(LogSettings(log_format="json"), "api", stream)
    stream.close()

    structlog.get_logger("a").info("unheard")


def test_lines_of_many_threads_stay_whole(log_lines: LogLines) -> None:
    def talk(number: int) -> None:
        for _ in range(50):
            structlog.get_logger("a").info("said", by=number, text="x" * 200)
            logging.getLogger("b").info("said %s", "y" * 200)

    threads = [threading.Thread(target=talk, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(log_lines()) == 4 * 50 * 2
