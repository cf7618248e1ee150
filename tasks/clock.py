"""Time as it is given to the work: wall time for records, monotonic time for durations. Tests give their own."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """What the work asks for time."""

    def now(self) -> float:
        """Seconds since the Unix epoch, for what is written down."""

    def monotonic(self) -> float:
        """Seconds that never jump, for durations and deadlines."""


class SystemClock:
    """The machine's own time."""

    def now(self) -> float:
        """Seconds since the Unix epoch, to the microsecond, so that it survives being written as RFC 3339."""
        return round(time.time(), 6)

    def monotonic(self) -> float:
        """Seconds since an arbitrary point."""
        return time.monotonic()


class ManualClock:
    """A clock that stands still until a test moves it."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self._now = now

    def now(self) -> float:
        """The time it was last set to."""
        return self._now

    def monotonic(self) -> float:
        """The same, as a duration."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Moves on by `seconds`."""
        self._now += seconds
