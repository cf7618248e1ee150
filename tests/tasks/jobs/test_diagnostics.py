from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tasks.actor import Actor
from tasks.clock import ManualClock
from tasks.errors import InvalidArguments
from tasks.job import Job
from tasks.jobs import diagnostics
from tasks.jobs.diagnostics import LONGEST_SLEEP_SECONDS, DiagnosticFailure
from tasks.parts import Parts


def job(parts: Parts, attempt: int = 0) -> Job:
    return Job(parts, task_id="t", owner="ann", attempt=attempt)


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> ManualClock:
    """A clock that a sleep moves on by itself."""
    clock = ManualClock()
    yield_once = asyncio.sleep

    async def sleep(seconds: float) -> None:
        clock.advance(seconds)
        await yield_once(0)

    monkeypatch.setattr("tasks.jobs.diagnostics.asyncio.sleep", sleep)
    return clock


class ProgressNotes(Job):
    """A job that remembers all it was told."""

    def __init__(self, parts: Any) -> None:
        super().__init__(parts, task_id="t", owner="ann", attempt=0)
        self.told: list[tuple[float, str]] = []

    def progress(self, percent: float, message: str | None = None) -> None:
        """Notes it."""
        super().progress(percent, message)
        self.told.append((round(percent, 1), self.message))


@pytest.mark.parametrize(
    ("x", "y", "total"), [(1, 2, 3), (0.5, 0.25, 0.75), (0.5, 0.5, 1), (-1, 1, 0), (1e300, 1e300, 2e300)]
)
async def test_add_adds(parts: Parts, x: float, y: float, total: float) -> None:
    answer = await diagnostics.add.body(job(parts), **diagnostics.add.check({"x": x, "y": y}))
    assert answer == total
    assert isinstance(answer, int) == float(total).is_integer()


async def test_echo_echoes(parts: Parts) -> None:
    assert await diagnostics.echo.body(job(parts), message="ümlaut") == "ümlaut"


async def test_long_reports_five_stages_of_two_seconds(hurried: ManualClock) -> None:
    began = hurried.now()
    notes = ProgressNotes(None)
    assert await diagnostics.long.body(notes) == 5
    assert notes.told == [(20.0 * stage, f"stage {stage} of 5") for stage in range(1, 6)]
    assert hurried.now() - began == 10.0


async def test_sleep_reports_every_second(hurried: ManualClock) -> None:
    class OnlyClock:
        clock = hurried

    notes = ProgressNotes(OnlyClock())
    assert await diagnostics.sleep.body(notes, seconds=2.5) == 2.5
    assert notes.told == [(0.0, "sleeping"), (40.0, "sleeping"), (80.0, "sleeping")]
    assert await diagnostics.sleep.body(ProgressNotes(OnlyClock()), seconds=0) == 0


@pytest.mark.parametrize(
    ("actor", "arguments"),
    [
        (diagnostics.add, {"x": "1", "y": 2}),
        (diagnostics.sleep, {"seconds": -1}),
        (diagnostics.sleep, {"seconds": LONGEST_SLEEP_SECONDS + 1}),
        (diagnostics.long, {"stages": 3}),
        (diagnostics.fail, {"times": "twice"}),
    ],
)
def test_arguments_beyond_measure_are_refused(actor: Actor, arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidArguments):
        actor.check(arguments)


async def test_fail_fails_as_often_as_asked(parts: Parts) -> None:
    for attempt in (0, 1):
        with pytest.raises(DiagnosticFailure) as failed:
            await diagnostics.fail.body(job(parts, attempt), times=2)
        assert failed.value.attempt == attempt
    assert await diagnostics.fail.body(job(parts, 2), times=2) == 2
    with pytest.raises(DiagnosticFailure):
        await diagnostics.fail.body(job(parts, 99))
    assert diagnostics.fail.retries.max_retries == 3
    assert diagnostics.fail.retries.max_backoff_seconds == 1.0
