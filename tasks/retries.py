"""When a failed attempt is tried again: a pure function of what failed, how often, and a given random source."""

from __future__ import annotations

from typing import Protocol

import msgspec

MOST_DOUBLINGS = 64
"""More would overflow some day, and no pause is as long as that."""


class Random(Protocol):
    """Where jitter comes from: the `random` module, or a seeded generator."""

    def random(self) -> float:
        """A number in [0, 1)."""


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How an actor's failures are retried."""

    max_retries: int = 3
    min_backoff_seconds: float = 1.0
    max_backoff_seconds: float = 60.0
    never_retry: tuple[type[Exception], ...] = ()

    def delay_seconds(self, error: BaseException, attempt: int, random: Random) -> float | None:
        """Seconds until the next try after `attempt` (0, 1, …) failed, or None when there shall be none.

        Exponential from the least to the most, with up to half of it taken off at random so that what failed together
        does not come back together.
        """
        if attempt >= self.max_retries or isinstance(error, self.never_retry):
            return None
        ceiling = min(self.max_backoff_seconds, self.min_backoff_seconds * 2.0 ** min(attempt, MOST_DOUBLINGS))
        return ceiling * (1 - random.random() / 2) if ceiling > self.min_backoff_seconds else ceiling
