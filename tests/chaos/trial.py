"""One engine on one server, through one schedule of kills, until nothing moves any more; then the count."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from tests.chaos.durable_valkey import DurableValkey
from tests.chaos.effects import Effects
from tests.chaos.engines import Engine
from tests.chaos.fleet import Place
from tests.chaos.publisher import PRIORITY_STEPS, QUEUE, Publisher
from tests.chaos.schedule import Outage, Plan, Schedule

LOOK_SECONDS = 0.05
MOST_QUIET_SECONDS = 60.0
"""So long without a message done, after the last kill, and what is missing counts as lost."""

HEAD_START = 0.1
"""The share of all messages that waits from the beginning; the others come as the kills go on."""


@dataclass
class Outcome:
    """What is left when nothing moves any more."""

    confirmed: int = 0
    lost: list[int] = field(default_factory=list)
    repeated: int = 0
    uncertain: int = 0
    left_over: dict[str, int] = field(default_factory=dict)
    worker_kills: int = 0
    kills_under_load: int = 0
    server_kills: int = 0
    own_deaths: int = 0
    seconds: float = 0.0


class Trial:
    """One engine on one server, through one schedule."""

    def __init__(self, engine: Engine, plan: Plan, schedule: Schedule, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._plan, self._schedule = plan, schedule
        self._server = DurableValkey(folder)
        self._effects = Effects(folder / "effects")
        self._publisher = Publisher(self._server.url, engine.task, plan.seed)
        self._client = Redis.from_url(self._server.url, socket_timeout=5.0)
        self._places = [
            Place(engine, self._server.url, self._effects, self._has_work, folder / "workers.log")
            for _ in range(plan.workers)
        ]
        self._undone = 0
        self.outcome = Outcome()

    async def run(self) -> Outcome:
        """Everything, from the start of the server to the count."""
        began_at = time.monotonic()
        await self._server.start()
        watching = asyncio.create_task(self._watch())
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._publish())
                group.create_task(self._outages())
                for place, lives in zip(self._places, self._schedule.lives, strict=True):
                    group.create_task(place.live_through(lives, self._before_kill))
            await self._drained()
            await self._count()
        finally:
            watching.cancel()
            for place in self._places:
                place.end()
            await self._client.aclose()
            await self._publisher.close()
            self._server.kill()
        self.outcome.seconds = time.monotonic() - began_at
        return self.outcome

    def _before_kill(self) -> None:
        self.outcome.worker_kills += 1
        self.outcome.kills_under_load += self._has_work()

    def _has_work(self) -> bool:
        return self._undone > 0

    async def _watch(self) -> None:
        """Keeps reading what has been done."""
        while True:
            self._effects.read()
            self._undone = len(self._missing())
            await asyncio.sleep(LOOK_SECONDS)

    async def _publish(self) -> None:
        """Some at first, then a share for every kill, so that there is work until the last."""
        total, kills = self._plan.messages, max(1, self._plan.worker_kills)
        while (confirmed := len(self._publisher.confirmed)) < total:
            share = HEAD_START + (1.0 - HEAD_START) * self.outcome.worker_kills / kills
            if (wanted := int(total * share) - confirmed) > 0:
                await self._publisher.publish(wanted)
            else:
                await asyncio.sleep(LOOK_SECONDS)

    async def _outages(self) -> None:
        for outage in self._schedule.outages:
            while self.outcome.worker_kills < outage.after_worker_kills:
                await asyncio.sleep(LOOK_SECONDS)
            await self._outage(outage)

    async def _outage(self, outage: Outage) -> None:
        self._server.kill()
        self.outcome.server_kills += 1
        await asyncio.sleep(outage.down_seconds)
        await self._server.start()

    async def _drained(self) -> None:
        """Until all is done and acknowledged, or nothing has moved for a while."""
        quiet_since, before = time.monotonic(), -1
        while time.monotonic() - quiet_since < MOST_QUIET_SECONDS:
            for place in self._places:
                place.check()
            left = await self._left_over()
            if not any(left.values()) and not self._missing():
                return
            if (moved := self._effects.runs.total()) != before:
                quiet_since, before = time.monotonic(), moved
            await asyncio.sleep(LOOK_SECONDS)

    async def _count(self) -> None:
        self._effects.read()
        outcome = self.outcome
        outcome.confirmed, outcome.uncertain = len(self._publisher.confirmed), len(self._publisher.uncertain)
        outcome.lost, outcome.repeated = sorted(self._missing()), self._effects.repeated()
        outcome.left_over = {name: count for name, count in (await self._left_over()).items() if count}
        outcome.own_deaths = sum(place.own_deaths for place in self._places)

    def _missing(self) -> set[int]:
        return self._publisher.confirmed - self._effects.runs.keys()

    async def _left_over(self) -> dict[str, int]:
        """What the server still holds, by key."""
        lists = [QUEUE, *(f"{QUEUE}\x06\x16{step}" for step in PRIORITY_STEPS), f"{QUEUE}.malformed"]
        pipeline: Any = self._client.pipeline()
        for name in lists:
            pipeline.llen(name)
        pipeline.zcard(f"{QUEUE}.delayed").hlen("unacked").zcard("unacked_index")
        try:
            counts = await pipeline.execute()
        except (RedisError, OSError):
            return {"unknown": 1}
        return dict(zip([*lists, f"{QUEUE}.delayed", "unacked", "unacked_index"], counts, strict=True))
