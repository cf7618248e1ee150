from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from tasks.retries import RetryPolicy

POLICY = RetryPolicy(max_retries=4, min_backoff_seconds=1.0, max_backoff_seconds=6.0, never_retry=(KeyError,))


class Fixed:
    def __init__(self, number: float) -> None:
        self._number = number

    def random(self) -> float:
        return self._number


def test_pauses_double_from_the_least_to_the_most_and_then_there_are_none() -> None:
    pauses = [POLICY.delay_seconds(ValueError(), attempt, Fixed(0.0)) for attempt in range(6)]
    assert pauses == [1.0, 2.0, 4.0, 6.0, None, None]


def test_what_failed_together_does_not_come_back_together() -> None:
    seeded = random.Random(1)
    pauses = {POLICY.delay_seconds(ValueError(), 2, seeded) for _ in range(100)}
    assert len(pauses) == 100
    assert all(pause is not None and 2.0 < pause <= 4.0 for pause in pauses)


def test_the_same_seed_gives_the_same_pauses() -> None:
    once, again = random.Random(7), random.Random(7)
    assert [POLICY.delay_seconds(ValueError(), 1, once) for _ in range(5)] == [
        POLICY.delay_seconds(ValueError(), 1, again) for _ in range(5)
    ]


def test_what_retrying_cannot_mend_is_not_retried() -> None:
    class Special(KeyError):
        pass

    assert POLICY.delay_seconds(KeyError(), 0, Fixed(0.0)) is None
    assert POLICY.delay_seconds(Special(), 0, Fixed(0.0)) is None
    assert POLICY.delay_seconds(LookupError(), 0, Fixed(0.0)) is not None


@given(attempt=st.integers(0, 5_000), number=st.floats(0, 1, exclude_max=True))
def test_no_pause_is_longer_than_the_most_or_less_than_half_the_least(attempt: int, number: float) -> None:
    policy = RetryPolicy(max_retries=5_000, min_backoff_seconds=0.5, max_backoff_seconds=300.0)
    pause = policy.delay_seconds(ValueError(), attempt, Fixed(number))
    assert pause is None or 0.25 <= pause <= 300.0
    assert (pause is None) == (attempt == 5_000)
