"""One log for a whole process: structlog and the standard library's loggers, through one chain, to one stream.

JSON, one object a line, for machines; aligned and coloured text for a terminal. No line holds a secret (`masking.py`).

Call `configure` before the first log line: loggers are built at their first use and keep what they were built with.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import sys
import time
from collections.abc import Callable, MutableMapping
from datetime import UTC, datetime
from typing import Literal, TextIO

import msgspec
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from observability import context
from observability.lines import Lines
from observability.masking import mask_event
from observability.quick_lines import QuickLines

QUIET_LOGGERS = (
    "celery.app.trace",  # a line per outcome: `signals.py` writes a better one, and Celery's costs a third of the rate
    "alembic",  # at every start, how it goes about migrating
    "celery.beat",  # a line per message sent: `signals.py` counts them
    "celery.worker.strategy",  # a line per message received
    "httpx",  # a line per request to Kubo, with its whole URL
    "httpcore",
    "uvicorn.access",  # a line per request: `http_middleware.py` writes it, with the route and the time it took
    "asyncio",  # at debug, which selector it uses
    "aiosqlite",  # at debug, a line per statement with its parameters
)
"""Heard from WARNING on only: they say at length what Moorage says itself, or what nobody asked."""


class LogSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How the log is written."""

    log_format: Literal["auto", "console", "json"] = "auto"
    """`auto` is console on a terminal and JSON anywhere else."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least important level that is written."""


def configure(settings: LogSettings, role: str, stream: TextIO | None = None) -> None:
    """Sends every log line of this process to `stream` (standard error). `role` is its part: api, worker, beat…

    Only handlers of the root logger are replaced. Servers and frameworks that would configure logging themselves must
    be told not to (uvicorn's `log_config=None`, Litestar's `logging_config=None`); Celery is told by `signals.attach`.
    """
    out = sys.stderr if stream is None else stream
    lines = Lines(out)
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    console = settings.log_format == "console" or (settings.log_format == "auto" and out.isatty())
    finish = _finish_for_console(out) if console else _finish_for_json(role)
    shared: list[Processor] = [context.merge, structlog.processors.add_log_level, _name]
    structlog.configure(
        processors=[*shared, *finish],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda name="moorage", *_: _LineLogger(name, lines),
        cache_logger_on_first_use=True,
    )
    _Quick.build = None if console or level > logging.INFO else functools.partial(_quick_lines, lines, role)
    handler = logging.StreamHandler(lines)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *finish],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in QUIET_LOGGERS:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    logging.captureWarnings(True)


def quick_lines(logger: str) -> QuickLines | None:
    """What writes lines of every task at level info, as the log is configured now. None when structlog has to: for
    people, or not at all."""
    return None if _Quick.build is None else _Quick.build(logger)


class _Quick:
    """How quick lines are written in this process, if they are."""

    build: Callable[[str], QuickLines] | None = None


def _quick_lines(lines: Lines, role: str, logger: str) -> QuickLines:
    return QuickLines(lines, logger, role, _timestamp)


class _LineLogger:
    """Writes finished lines."""

    def __init__(self, name: str, lines: Lines) -> None:
        self.name = name
        self._lines = lines

    def msg(self, line: str) -> None:
        self._lines.write(line + "\n")

    debug = info = warning = error = critical = msg


def _name(logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    record: logging.LogRecord | None = event.get("_record")
    event.setdefault("logger", logger.name if record is None else record.name)
    return event


def _finish_for_json(role: str) -> list[Processor]:
    def place(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        return {
            "timestamp": _timestamp(),
            "level": event.pop("level"),
            "event": event.pop("event"),
            "logger": event.pop("logger"),
            "role": role,
            "pid": os.getpid(),  # asked each time: a prefork child inherits this function
            **event,
        }

    return [structlog.processors.format_exc_info, mask_event, place, _json_line]


def _finish_for_console(out: TextIO) -> list[Processor]:
    def place(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event["timestamp"] = _timestamp()
        return event

    renderer = structlog.dev.ConsoleRenderer(colors=out.isatty(), pad_event_to=24)
    return [structlog.processors.format_exc_info, mask_event, _escape_controls, place, renderer]


_second: tuple[int, str] = (0, "")
"""The last second that was written, and how: most lines share theirs with the line before."""


def _timestamp() -> str:
    global _second  # noqa: PLW0603 - one tuple, replaced as a whole, so threads need no lock
    now = time.time_ns() // 1_000_000
    second, written = _second
    if second != now // 1_000:
        second = now // 1_000
        written = datetime.fromtimestamp(second, UTC).isoformat(timespec="seconds").removesuffix("+00:00")
        _second = (second, written)
    return f"{written}.{now % 1_000:03d}Z"


def _json_line(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    try:
        return msgspec.json.encode(event).decode()
    except UnicodeEncodeError:  # half a surrogate pair, from a file name that is not UTF-8
        return json.dumps(event)


_CONTROLS = {code: chr(0x2400 + code) for code in range(32)} | dict.fromkeys(
    range(127, 160), "\N{REPLACEMENT CHARACTER}"
)
_CONTROLS_IN_PROSE = {code: text for code, text in _CONTROLS.items() if chr(code) not in "\n\t"}
_PROSE = ("event", "exception", "stack")


def _escape_controls(_logger: WrappedLogger, _method: str, event: EventDict) -> MutableMapping[str, object]:
    """Shows control characters as text: a path or a file name must neither forge a line nor paint the terminal."""
    return {
        key: value.translate(_CONTROLS_IN_PROSE if key in _PROSE else _CONTROLS) if isinstance(value, str) else value
        for key, value in event.items()
    }
