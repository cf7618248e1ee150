"""Claims, acknowledgements, leases, restores and deaths in any order keep every promise about every message."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.tasks.transport.fake_time_broker import time_from_a_key
from tests.tasks.transport.machine import harbour_at

STEPS = 40
SUPPRESSED = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]


@pytest.fixture(autouse=True)
def fake_time() -> Iterator[None]:
    with time_from_a_key():
        yield


def explore(url: str, examples: int, steps: int = STEPS) -> None:
    profile = settings(
        max_examples=examples, stateful_step_count=steps, deadline=None, database=None, suppress_health_check=SUPPRESSED
    )
    run_state_machine_as_test(harbour_at(url), settings=profile)


def test_every_message_is_in_one_place_whatever_happens_in_whatever_order(redis_url: str) -> None:
    explore(redis_url, examples=150)


@pytest.mark.slow
@pytest.mark.timeout(1_200)
def test_a_long_search_finds_no_way_to_lose_a_message(redis_url: str) -> None:
    explore(redis_url, examples=2_000, steps=80)
