"""Actors that prove the queue works, or fails as it should. They do nothing of use and live in Redis only."""

from __future__ import annotations

import asyncio
import math
from typing import Annotated

import msgspec

from tasks.actor import actor
from tasks.errors import InvalidArguments, MoorageError
from tasks.job import Job
from tasks.queues import UPKEEP

LONG_STAGES = 5
LONG_STAGE_SECONDS = 2.0
LONGEST_SLEEP_SECONDS = 3_600

Seconds = Annotated[float, msgspec.Meta(ge=0, le=LONGEST_SLEEP_SECONDS)]


class DiagnosticFailure(MoorageError):
    """What `fail` fails with."""

    def __init__(self, attempt: int) -> None:
        self.attempt = attempt
        super().__init__(f"failed as asked, for the {attempt + 1}. time")


@actor(queue=UPKEEP)
async def add(job: Job, x: float, y: float) -> float:
    """The sum, as an integer when it is one. Raises InvalidArguments when it is too large for a number."""
    total = x + y
    if not math.isfinite(total):
        raise InvalidArguments(add.name, "the sum is too large")
    return int(total) if total.is_integer() else total


@actor(queue=UPKEEP)
async def echo(job: Job, message: str) -> str:
    """The message itself."""
    return message


@actor(queue=UPKEEP)
async def sleep(job: Job, seconds: Seconds) -> float:
    """Waits, and reports how far it is every second."""
    clock = job.parts.clock
    started = clock.monotonic()
    while (elapsed := clock.monotonic() - started) < seconds:
        job.progress(100.0 * elapsed / seconds, "sleeping")
        await asyncio.sleep(min(1.0, seconds - elapsed))
    return seconds


@actor(queue=UPKEEP)
async def long(job: Job) -> int:
    """Five stages of two seconds, reported as 20, 40, 60, 80 and 100."""
    for stage in range(1, LONG_STAGES + 1):
        await asyncio.sleep(LONG_STAGE_SECONDS)
        job.progress(100.0 * stage / LONG_STAGES, f"stage {stage} of {LONG_STAGES}")
    return LONG_STAGES


@actor(queue=UPKEEP, max_retries=3, min_backoff_seconds=1.0, max_backoff_seconds=1.0)
async def fail(job: Job, times: int | None = None) -> int:
    """Raises for the first `times` attempts, or for ever; returns the attempt that went well."""
    if times is None or job.attempt < times:
        raise DiagnosticFailure(job.attempt)
    return job.attempt
