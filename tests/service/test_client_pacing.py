from __future__ import annotations

import pytest

from service.client_pacing import poll_delay_seconds, retry_delay_seconds


def test_a_task_is_asked_for_often_at_first_and_never_less_than_once_a_second() -> None:
    delays = [poll_delay_seconds(polls) for polls in range(60)]
    assert delays == sorted(delays)
    assert delays[0] == pytest.approx(0.1)
    assert delays[-1] == 1.0


@pytest.mark.parametrize(
    ("failures", "retry_after", "delay_seconds"),
    [
        (1, "", 0.2),
        (3, "", 0.8),
        (3, "7", 7.0),
        (1, "0", 0.0),
        (1, "-5", 0.0),
        (1, "soon", 0.2),
        (1, "Wed, 21 Oct 2015 07:28:00 GMT", 10.0),
        (1, "Wed, 21 Oct 2015 07:27:00 GMT", 0.0),
    ],
)
def test_the_server_s_retry_after_wins_over_doubling(failures: int, retry_after: str, delay_seconds: float) -> None:
    now = 1445412480.0 - 10
    assert retry_delay_seconds(failures, retry_after, now) == pytest.approx(delay_seconds)
