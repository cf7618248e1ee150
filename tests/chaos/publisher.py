"""Sends numbered messages and remembers which of them the server has confirmed: only those can be lost.

They go as any Celery client would write them: most at once, some with a priority, some to be run a little later.
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
import uuid
from datetime import UTC, datetime, timedelta

from celery import Celery
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

QUEUE = "chaos"
PRIORITY_STEPS = (3, 6, 9)
BATCH = 50
LONGEST_DELAY_SECONDS = 2.0
PAUSE_SECONDS = 0.05

_encoder = Celery(set_as_current=False).amqp


class Publisher:
    """One client of one server."""

    def __init__(self, url: str, task: str, seed: int) -> None:
        # No retries: whether a command that was cut off has been done cannot be known, and is not to be guessed.
        self._redis = Redis.from_url(url, retry=Retry(NoBackoff(), 0), socket_timeout=5.0)
        self._task, self._drawn, self._next = task, random.Random(seed), 0
        self.confirmed: set[int] = set()
        self.uncertain: set[int] = set()

    async def publish(self, count: int) -> None:
        """Goes on until `count` more messages have been confirmed, through whatever happens to the server."""
        target = len(self.confirmed) + count
        while len(self.confirmed) < target:
            numbers = list(range(self._next, self._next + min(BATCH, target - len(self.confirmed))))
            self._next += len(numbers)
            try:
                await self._redis.lpush(self._list(), *[self._message(number) for number in numbers])
            except (RedisError, OSError):
                self.uncertain.update(numbers)
                await asyncio.sleep(PAUSE_SECONDS)
            else:
                self.confirmed.update(numbers)

    async def close(self) -> None:
        """Ends the connection."""
        await self._redis.aclose()

    def _list(self) -> str:
        if self._drawn.random() < 0.8:
            return QUEUE
        return f"{QUEUE}\x06\x16{self._drawn.choice(PRIORITY_STEPS)}"

    def _message(self, number: int) -> bytes:
        eta = None
        if self._drawn.random() < 0.05:
            eta = datetime.now(UTC) + timedelta(seconds=self._drawn.uniform(0.0, LONGEST_DELAY_SECONDS))
        return wire(self._task, [number], eta)


def wire(task: str, arguments: list[float], eta: datetime | None = None) -> bytes:
    """A message of Celery's protocol 2 in kombu's envelope."""
    built = _encoder.as_task_v2(str(uuid.uuid4()), task, args=tuple(arguments), kwargs={}, eta=eta)
    properties = built.properties | {
        "delivery_mode": 2,
        "delivery_info": {"exchange": "", "routing_key": QUEUE},
        "priority": 0,
        "body_encoding": "base64",
        "delivery_tag": str(uuid.uuid4()),
    }
    envelope = {
        "body": base64.b64encode(json.dumps(built.body).encode()).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": built.headers,
        "properties": properties,
    }
    return json.dumps(envelope).encode()
