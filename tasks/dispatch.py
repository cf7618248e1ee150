"""Sends tasks: the live record and the Celery message in one round trip, without ever blocking the event loop.

A durable task's row has been committed before; its message is a hint, so a broker that is down costs nothing but time:
the reconciler sends it later. Another task has nothing but its message, so there the same trouble is an error.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import msgspec
import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from tasks import messages
from tasks.catalog.tasks import TaskRow
from tasks.clock import Clock
from tasks.errors import RecordsUnavailable
from tasks.messages import Outgoing
from tasks.records import Record, Records, from_row

PRIORITY_SUFFIXES = ("", "\x06\x163", "\x06\x166", "\x06\x169")
"""What kombu appends to a queue's name for each of its priority steps."""

log = structlog.get_logger(__name__)


class QueueView(msgspec.Struct, frozen=True):
    """What waits in a queue: how many messages, and since when the oldest (epoch seconds) if that is known."""

    length: int
    oldest_enqueued_at: float | None

    @property
    def gone_before(self) -> float:
        """Messages sent before this time (epoch seconds) have been taken: queues are first in, first out."""
        if self.length == 0:
            return math.inf
        return -math.inf if self.oldest_enqueued_at is None else self.oldest_enqueued_at - CLOCK_SKEW_SECONDS


CLOCK_SKEW_SECONDS = 1.0


class Dispatcher:
    """Sends tasks to one broker."""

    def __init__(self, broker: Redis, redis: Redis, records: Records, clock: Clock) -> None:
        self._broker, self._redis, self._records, self._clock = broker, redis, records, clock

    async def send(
        self,
        record: Record,
        arguments: dict[str, Any],
        context: dict[str, str],
        *,
        delay_seconds: float = 0.0,
    ) -> None:
        """Sends a task that lives in Redis only. Raises RecordsUnavailable when that cannot be done."""
        try:
            await self._push(record, self._outgoing(record, arguments, context, delay_seconds))
        except (RedisError, OSError) as error:
            raise RecordsUnavailable from error

    async def hint(self, row: TaskRow) -> bool:
        """Sends the message of a committed row. False, and a log line, when the broker cannot be reached."""
        record = from_row(row)
        delay_seconds = max(0.0, row.due_at - self._clock.now())
        try:
            outgoing = self._outgoing(record, row.arguments, row.context, delay_seconds)
            await self._push(record, msgspec.structs.replace(outgoing, losses=row.losses))
        except (RedisError, OSError) as error:
            log.warning("task.not_sent", task_id=row.id, actor=row.actor, reason=type(error).__name__)
            return False
        return True

    async def view(self, queue: str) -> QueueView:
        """What waits in `queue`, over all its priorities. Raises RecordsUnavailable."""
        pipeline = self._broker.pipeline(transaction=False)
        for suffix in PRIORITY_SUFFIXES:
            pipeline.llen(queue + suffix)
            pipeline.lindex(queue + suffix, -1)
        try:
            answers = await pipeline.execute()
        except (RedisError, OSError) as error:
            raise RecordsUnavailable from error
        oldest = [_enqueued_at(raw) for raw in answers[1::2] if raw is not None]
        known = [at for at in oldest if at is not None]
        return QueueView(sum(answers[0::2]), min(known) if oldest and len(known) == len(oldest) else None)

    def _outgoing(
        self, record: Record, arguments: dict[str, Any], context: dict[str, str], delay_seconds: float
    ) -> Outgoing:
        now = self._clock.now()
        eta = datetime.fromtimestamp(now + delay_seconds, UTC) if delay_seconds > 0 else None
        return Outgoing(
            task_id=record.task_id,
            actor=record.actor,
            queue=record.queue,
            arguments=arguments,
            context=context | {"owner_id": record.owner},
            attempt=record.attempt,
            eta=eta,
            created_at=record.created_at,
            enqueued_at=now,
        )

    async def _push(self, record: Record, outgoing: Outgoing) -> None:
        envelope = messages.encode(outgoing)
        shared = self._broker is self._redis
        pipeline = self._redis.pipeline(transaction=True)
        self._records.stage(pipeline, record)
        if shared:
            pipeline.lpush(record.queue, envelope)
        await pipeline.execute()
        if not shared:
            await self._broker.lpush(record.queue, envelope)
        messages.sent(outgoing)


def _enqueued_at(raw: bytes) -> float | None:
    try:
        return float(msgspec.json.decode(raw)["headers"]["enqueued_at"])
    except (msgspec.MsgspecError, KeyError, TypeError, ValueError):
        return None
