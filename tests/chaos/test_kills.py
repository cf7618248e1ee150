"""What CI sees of `tests.chaos.kills`: fewer messages and kills, at moments that differ from run to run."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path

import pytest

from tests.chaos.engines import OURS
from tests.chaos.schedule import Plan, draw
from tests.chaos.trial import Trial

LIMIT_SECONDS = 180.0


@pytest.mark.slow
@pytest.mark.timeout(LIMIT_SECONDS + 30)
async def test_ten_thousand_messages_outlive_twenty_kills_of_workers_and_one_of_the_server(tmp_path: Path) -> None:
    plan = Plan(messages=10_000, worker_kills=20, server_kills=1, workers=2, seed=secrets.randbelow(1_000_000))

    async with asyncio.timeout(LIMIT_SECONDS):
        outcome = await Trial(OURS, plan, draw(plan), tmp_path).run()

    assert (outcome.confirmed, outcome.worker_kills, outcome.server_kills) == (10_000, 20, 1)
    assert outcome.lost == [], f"lost with seed {plan.seed}"
    assert outcome.left_over == {}, f"left over with seed {plan.seed}"


def test_a_seed_draws_the_same_schedule_again() -> None:
    plan = Plan(messages=1_000, worker_kills=20, server_kills=3, workers=3, seed=7)

    assert draw(plan) == draw(plan)
    assert draw(plan) != draw(plan._replace(seed=8))
    assert sum(map(len, draw(plan).lives)) == 20
    assert len(draw(plan).outages) == 3
