from __future__ import annotations

import pytest

from service.restart_policy import RECYCLED, deaths_in_a_row, is_futile, is_planned, restart_delay_seconds
from tasks.pool import recycling


@pytest.mark.parametrize(
    ("deaths", "delay_seconds"), [(1, 0.2), (2, 0.4), (3, 0.8), (6, 6.4), (7, 10.0), (10_000, 10.0)]
)
def test_the_wait_doubles_from_a_fifth_of_a_second_to_ten_seconds(deaths: int, delay_seconds: float) -> None:
    assert restart_delay_seconds(deaths) == pytest.approx(delay_seconds)


def test_a_life_of_thirty_seconds_wipes_the_slate_clean() -> None:
    assert deaths_in_a_row(7, lived_seconds=30.0) == 1
    assert deaths_in_a_row(7, lived_seconds=29.9) == 8


def test_a_child_that_never_worked_is_given_up_after_five_deaths_and_one_that_worked_never_is() -> None:
    assert not is_futile(4, has_worked=False)
    assert is_futile(5, has_worked=False)
    assert not is_futile(5_000, has_worked=True)


def test_a_worker_that_recycles_itself_is_no_death_unless_it_had_hardly_begun_to_live() -> None:
    assert recycling.EXIT_CODE == RECYCLED
    assert is_planned(RECYCLED, RECYCLED, lived_seconds=60.0)
    assert not is_planned(RECYCLED, RECYCLED, lived_seconds=1.0)
    assert not is_planned(RECYCLED, None, lived_seconds=60.0)
    assert not is_planned(None, None, lived_seconds=60.0)
    assert not is_planned(1, RECYCLED, lived_seconds=60.0)
