"""How long the supervisor waits before it starts a dead child again, and when it gives up on one that never worked.

Pure decisions: deaths in a row double the wait from 0.2 s to 10 s; a life of 30 s wipes the slate clean.
"""

from __future__ import annotations

FIRST_DELAY_SECONDS = 0.2
LONGEST_DELAY_SECONDS = 10.0
HEALTHY_LIFE_SECONDS = 30.0
"""A child that lived this long died of something new: its earlier deaths are forgotten."""
STEADY_LIFE_SECONDS = 5.0
"""A child without a ready check counts as having worked once it lived this long."""
FUTILE_STARTS = 5
"""Deaths in a row after which a child that never worked is not started again."""
RECYCLED = 75
"""The exit code of a worker that wants to be started again: `tasks.pool.recycling`, which is slow to import."""


def deaths_in_a_row(earlier_deaths: int, lived_seconds: float) -> int:
    """Counts a death after a life of `lived_seconds`; `earlier_deaths` had come in a row before it."""
    return 1 if lived_seconds >= HEALTHY_LIFE_SECONDS else earlier_deaths + 1


def restart_delay_seconds(deaths: int) -> float:
    """The wait after the given number of deaths in a row (1 for the first)."""
    doublings = min(deaths - 1, 16)  # far past the longest delay; keeps the power small after a night of deaths
    return min(LONGEST_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2.0**doublings)


def is_futile(deaths: int, *, has_worked: bool) -> bool:
    """Whether starting the child once more is pointless: it has died too often without ever having worked."""
    return not has_worked and deaths >= FUTILE_STARTS


def is_planned(exit_code: int | None, recycle_code: int | None, lived_seconds: float) -> bool:
    """Whether the child has ended to be started again at once. One that does so young is broken, whatever it says."""
    return exit_code is not None and exit_code == recycle_code and lived_seconds >= STEADY_LIFE_SECONDS
