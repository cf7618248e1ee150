"""Counts that outlive the processes which made them: one Redis hash, added to in batches, read at a scrape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from redis.exceptions import RedisError

from tasks.errors import RecordsUnavailable
from tasks.redis_address import client

TOTALS_KEY = "moorage:totals"
TIMEOUT_SECONDS = 5.0


class TotalsStore:
    """Adds to the totals from a thread."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    @classmethod
    def connect(cls, redis_url: str) -> TotalsStore:
        """A store with a connection of its own."""
        return cls(client(redis_url, TIMEOUT_SECONDS))

    def add(self, amounts: Mapping[str, float]) -> None:
        """Adds all amounts, or none. Blocks; raises RedisError."""
        with self._redis.pipeline(transaction=True) as pipeline:
            for field, amount in amounts.items():
                pipeline.hincrbyfloat(TOTALS_KEY, field, amount)
            pipeline.execute()

    def close(self) -> None:
        """Closes the connection."""
        self._redis.close()


async def read_totals(redis: AsyncRedis) -> dict[str, float]:
    """All totals by field. Raises RecordsUnavailable."""
    try:
        found: Any = await redis.hgetall(TOTALS_KEY)
    except (RedisError, OSError) as error:
        raise RecordsUnavailable from error
    return {field.decode(): float(value) for field, value in found.items()}
