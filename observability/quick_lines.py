"""Lines that every task writes, put together from finished pieces: what structlog's chain would write, byte for byte.

The chain takes some twenty steps a line, which is a tenth of what a small task costs. What varies in these lines is
little, and the words of an attempt are masked and encoded once for all of its lines.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

import msgspec

from observability.lines import Lines
from observability.masking import mask_event

_encode = msgspec.json.Encoder().encode


def encode_words(words: Mapping[str, object]) -> str:
    """The inside of a JSON object with these words, masked; empty when the chain has to write them, in its way."""
    try:
        return _encode(mask_event(None, "info", dict(words))).decode()[1:-1]
    except UnicodeEncodeError:
        return ""


class QuickLines:
    """The lines of one logger at level info, as JSON."""

    def __init__(self, lines: Lines, logger: str, role: str, timestamp: Callable[[], str]) -> None:
        self._lines, self._timestamp = lines, timestamp
        self._logger, self._role = logger, role
        self._places: dict[str, str] = {}

    def say(self, event: str, words: str, numbers: Mapping[str, float]) -> None:
        """Writes a line: an event, one of few, words from `encode_words`, and numbers, which hold no secret."""
        place = self._places.get(event)
        if place is None:
            place = self._places[event] = self._place(event)
        rest = "," + _encode(numbers).decode()[1:] if numbers else "}"
        self._lines.write_soon(f'{{"timestamp":"{self._timestamp()}",{place}{os.getpid()},{words}{rest}\n')

    def _place(self, event: str) -> str:
        known = {"level": "info", "event": event, "logger": self._logger, "role": self._role}
        return _encode(known).decode()[1:-1] + ',"pid":'
