"""When the client asks again: pure decisions over counts and given times."""

from __future__ import annotations

from email.utils import parsedate_to_datetime

FIRST_POLL_SECONDS = 0.1
LONGEST_POLL_SECONDS = 1.0
ATTEMPTS = 6
"""How often an idempotent request is sent before its failure is believed; the waits between sum up to 6 s."""
FIRST_RETRY_SECONDS = 0.2
LONGEST_RETRY_SECONDS = 30.0
"""A server that asks for more patience than this is taken at its word by failing now."""


def poll_delay_seconds(polls: int) -> float:
    """The wait after so many polls of one task: short work is seen quickly, long work is not asked for too often."""
    return min(LONGEST_POLL_SECONDS, FIRST_POLL_SECONDS * 1.25 ** min(polls, 32))


def retry_delay_seconds(failures: int, retry_after: str = "", now: float = 0.0) -> float:
    """The wait after so many failures in a row (1 for the first): what `Retry-After` says, else doubling.

    `retry_after` is the header's value, seconds or an HTTP date (RFC 9110, 10.2.3); `now` in seconds since the epoch.
    """
    asked = _retry_after_seconds(retry_after, now)
    return FIRST_RETRY_SECONDS * 2.0 ** (failures - 1) if asked is None else asked


def _retry_after_seconds(value: str, now: float) -> float | None:
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now)
    except ValueError:
        return None
