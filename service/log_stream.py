"""The one log stream of `moorage up`: the children's lines and the supervisor's own, in the order they came.

Writing happens on a thread of its own: a paused terminal or a stuck log collector never stops the supervisor, nor, by a
full pipe, its children. What does not fit in the buffer meanwhile is dropped, and the number of lost lines is told.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Literal, Protocol

from service.log_lines import console_prefix, json_event, json_line
from tasks.clock import Clock

LogFormat = Literal["console", "json"]

SUPERVISOR = "up"
"""The role under which the supervisor itself speaks."""

BUFFER_BYTES = 8 * 1024 * 1024


class Output(Protocol):
    """Where the lines go; a binary stream."""

    def write(self, data: bytes, /) -> object:
        """Takes all of `data`."""

    def flush(self) -> object:
        """Passes on what it holds back."""


class LogStream:
    """Formats lines and hands them to a writer thread. `roles` fixes the width and the colours of the prefixes."""

    def __init__(
        self, output: Output, log_format: LogFormat, roles: Sequence[str], clock: Clock, *, colours: bool = False
    ) -> None:
        self._output, self._format, self._clock = output, log_format, clock
        everyone = (SUPERVISOR, *roles)
        self._prefixes = {role: console_prefix(role, everyone, colours=colours) for role in everyone}
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._dropped_lines = 0
        self._closing = False
        self._changed = threading.Condition()
        self._writer = threading.Thread(target=self._write_all, name="log-stream", daemon=True)
        self._writer.start()

    def child_lines(self, role: str, lines: Iterable[bytes]) -> None:
        """Takes lines that a child wrote. Never blocks."""
        self._put([self._format_line(role, line) for line in lines])

    def say(self, event: str, level: str = "info", **fields: object) -> None:
        """The supervisor's own words; `fields` only show in JSON. Never blocks."""
        if self._format == "json":
            self._put([json_event(SUPERVISOR, event, level, self._clock.now(), **fields)])
        else:
            self._put([self._prefixes[SUPERVISOR] + event.encode()])

    def close(self, deadline_seconds: float = 2.0) -> None:
        """Writes what is waiting, for at most `deadline_seconds`: the reader may be gone or stuck."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._writer.join(deadline_seconds)

    def _format_line(self, role: str, line: bytes) -> bytes:
        if self._format == "json":
            return json_line(role, line, self._clock.now())
        return self._prefixes[role] + line

    def _put(self, lines: list[bytes]) -> None:
        if not lines:
            return
        batch = b"\n".join([*lines, b""])
        with self._changed:
            if self._waiting_bytes + len(batch) > BUFFER_BYTES:
                self._dropped_lines += len(lines)
                return
            self._waiting.append(batch)
            self._waiting_bytes += len(batch)
            self._changed.notify()

    def _take(self) -> bytes:
        """Everything that waits; empty only when the stream is closed and drained."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            batch = b"".join(self._waiting)
            self._waiting.clear()
            self._waiting_bytes = 0
            dropped, self._dropped_lines = self._dropped_lines, 0
        if dropped:
            self.say(f"{dropped} log lines were dropped because nobody read them", "warning")
        return batch

    def _write_all(self) -> None:
        while batch := self._take():
            try:
                self._output.write(batch)
                self._output.flush()
            except (OSError, ValueError):  # the reader went away (`moorage up | head`): go on serving, silently
                continue
