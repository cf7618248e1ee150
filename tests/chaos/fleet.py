"""Workers that are killed when they are busy, one life after another, and at last one that is left alone."""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.benchmarks.engine import processes
from tests.chaos.effects import Effects
from tests.chaos.engines import APPLICATION, Engine

LOOK_SECONDS = 0.01
FIRST_EFFECT_SECONDS = 120.0
LONGEST_IDLE_SECONDS = 2.0
"""A worker that finds nothing to do for so long is killed without having done anything."""


class Place:
    """Where one worker lives, dies, and is followed by the next. `has_work`: whether anything is left to be done."""

    _numbers = itertools.count(1)

    def __init__(
        self, engine: Engine, broker_url: str, effects: Effects, has_work: Callable[[], bool], log: Path
    ) -> None:
        self._engine, self._broker_url, self._effects, self._log = engine, broker_url, effects, log
        self._has_work = has_work
        self._life = ""
        self._worker: processes.Worker | None = None
        self.own_deaths = 0

    async def live_through(self, lives: Sequence[float], before_kill: Callable[[], None]) -> None:
        """A worker for each life, killed that many seconds after the first message it has done; then one that stays."""
        self.begin()
        for seconds in lives:
            await self._first_effect()
            await asyncio.sleep(seconds)
            before_kill()
            self.end()
            self.begin()

    def begin(self) -> None:
        """A new life."""
        self._life = f"life{next(self._numbers)}"
        variables = {
            "CHAOS_LIFE": self._life,
            "CHAOS_EFFECTS": str(self._effects.path),
            "CHAOS_BROKER": self._broker_url,
            "CHAOS_CELERY": self._engine.settings,
        }
        words = ("celery", "-A", APPLICATION, "--quiet", "worker", "-l", "WARNING", "-n", f"{self._life}@chaos")
        quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat")
        command = [sys.executable, "-m", *words, *quiet, *self._engine.options]
        self._worker = processes.start(command, variables, self._log)

    def check(self) -> None:
        """Brings a worker back that has ended by itself, as a supervisor would, and counts it."""
        if self._worker is not None and not self._worker.is_alive():
            self.own_deaths += 1
            self.begin()

    def end(self) -> None:
        """Ends whoever lives here, at once."""
        if self._worker is not None:
            self._worker.kill()

    async def _first_effect(self) -> None:
        idle_since = time.monotonic()
        async with asyncio.timeout(FIRST_EFFECT_SECONDS):
            while self._life not in self._effects.lives and time.monotonic() - idle_since < LONGEST_IDLE_SECONDS:
                self.check()
                if self._has_work():
                    idle_since = time.monotonic()
                await asyncio.sleep(LOOK_SECONDS)
