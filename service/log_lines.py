"""What one line of a child looks like in the supervisor's log stream. Pure: bytes in, bytes out.

On a terminal each line gets its child's name in front, aligned and coloured. As JSON, lines that are JSON objects pass
untouched, because the child wrote them for a machine already; anything else is wrapped into an object.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

LONGEST_LINE_BYTES = 64 * 1024
"""A longer line is cut into several, so that a child that never ends its line cannot fill the memory."""

COLOURS = (36, 32, 35, 33, 34, 31)
"""ANSI foregrounds given to children in their order: cyan, green, magenta, yellow, blue, red."""

_VALKEY_LINE = re.compile(rb"^\d+:(?:[A-Z] \d+ \w+ \d+ [\d:.]+ ([.\-*#])|signal-handler \(\d+\)) (.*)$")
_VALKEY_LEVELS = {b".": "debug", b"-": "info", b"*": "info", b"#": "warning"}


class LineSplitter:
    """Cuts a stream of chunks into lines without their ends."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that `chunk` completes."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) >= LONGEST_LINE_BYTES:
            lines.append(self._rest)
            self._rest = b""
        return [line.rstrip(b"\r") for line in lines]

    def finish(self) -> list[bytes]:
        """What was left without a line end when the stream closed."""
        rest, self._rest = self._rest, b""
        return [rest] if rest else []


def console_prefix(role: str, roles: Sequence[str], *, colours: bool) -> bytes:
    """`[api    ] `, as wide as the longest of `roles`."""
    width = max(map(len, roles), default=len(role))
    name = f"[{role:<{width}}] "
    if not colours:
        return name.encode()
    colour = COLOURS[roles.index(role) % len(COLOURS)] if role in roles else 1
    return f"\x1b[{colour}m{name}\x1b[0m".encode()


def json_line(role: str, line: bytes, now: float) -> bytes:
    """`line` itself when it is a JSON object, else an object with `timestamp`, `level`, `role` and `event`.

    `now` is in seconds since the epoch.
    """
    if line.startswith(b"{") and _is_json_object(line):
        return line
    level = "info"
    if valkey := _VALKEY_LINE.match(line):
        level, line = _VALKEY_LEVELS[valkey[1] or b"*"], valkey[2]
    return json_event(role, line.decode(errors="replace"), level, now)


def json_event(role: str, event: str, level: str, now: float, **fields: object) -> bytes:
    """One log event in the shape the children use. `now` is in seconds since the epoch."""
    timestamp = datetime.fromtimestamp(now, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    return msgspec.json.encode({"timestamp": timestamp, "level": level, "role": role, "event": event, **fields})


def _is_json_object(line: bytes) -> bool:
    try:
        msgspec.json.decode(line, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return True
