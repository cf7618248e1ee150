"""When who is killed, drawn from a seed before anything starts: the same for every engine that is put through it."""

from __future__ import annotations

import random
from typing import NamedTuple

LONGEST_LIFE_SECONDS = 0.6
LONGEST_OUTAGE_SECONDS = 1.0


class Plan(NamedTuple):
    """How much is sent, and how often is killed."""

    messages: int
    worker_kills: int
    server_kills: int
    workers: int
    seed: int


class Outage(NamedTuple):
    """The server is killed at once after so many kills of workers, and comes back after a while."""

    after_worker_kills: int
    down_seconds: float


class Schedule(NamedTuple):
    """For each worker how long its lives last, in seconds after the first message each has done; and the outages."""

    lives: list[list[float]]
    outages: list[Outage]


def draw(plan: Plan) -> Schedule:
    """The schedule of this plan."""
    drawn = random.Random(plan.seed)
    lives: list[list[float]] = [[] for _ in range(plan.workers)]
    for number in range(plan.worker_kills):
        lives[number % plan.workers].append(drawn.uniform(0.0, LONGEST_LIFE_SECONDS))
    moments = sorted(drawn.randrange(max(1, plan.worker_kills)) for _ in range(plan.server_kills))
    outages = [Outage(moment, drawn.uniform(0.1, LONGEST_OUTAGE_SECONDS)) for moment in moments]
    return Schedule(lives, outages)
