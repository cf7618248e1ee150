"""Time limits as an event loop can keep them: the exception a body sees, and the timers."""

from __future__ import annotations

import asyncio
import math
from typing import Any

from billiard.exceptions import SoftTimeLimitExceeded


class SoftLimit(SoftTimeLimitExceeded, asyncio.CancelledError):
    """Celery's SoftTimeLimitExceeded, and a cancellation too.

    Structured code (a TaskGroup, a gather) takes its children down with it only for a cancellation, while bodies catch
    Celery's exception. What leaves the process names Celery's class.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        return SoftTimeLimitExceeded, self.args


def check(*limits_seconds: float | None) -> None:
    """Raises ValueError for a limit that is no time. Whoever can reach the broker writes them."""
    for seconds in limits_seconds:
        if seconds is not None and not (isinstance(seconds, int | float) and 0 <= seconds < math.inf):
            raise ValueError(f"a time limit is a number of seconds, not {seconds!r}")


SoftLimit.__name__ = SoftLimit.__qualname__ = SoftTimeLimitExceeded.__name__
SoftLimit.__module__ = SoftTimeLimitExceeded.__module__
