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
from tasks.transport.names import DELAYED_SUFFIX

PRIORITY_SUFFIXES = ("", "\x06\x163", "\x06\x166", "\x06\x169")
"""What kombu appends to a queue's name for each of its priority steps."""

log = structlog.get_logger(__name__)


class QueueView(msgspec.Struct, frozen=True):
    """What waits in a queue: how many messages, and since when the oldest (epoch seconds) if that is known.

    `next_due_at` is when the first of the delayed ones may run, which are not counted.
    """

    length: int
    oldest_enqueued_at: float | None
    next_due_at: float = math.inf

    @property
    def gone_before(self) -> float:
        """Messages that were sent, or due, before this time (epoch seconds) have been taken: queues are first in, first
        out, and so are delayed messages by the time they are due."""
        if self.length and self.oldest_enqueued_at is None:
            return -math.inf
        oldest = self.oldest_enqueued_at if self.length and self.oldest_enqueued_at is not None else math.inf
        return min(oldest, self.next_due_at) - CLOCK_SKEW_SECONDS


CLOCK_SKEW_SECONDS = 1.0
FRONT_MESSAGES = 8


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
            pipeline.lrange(queue + suffix, -FRONT_MESSAGES, -1)
        pipeline.zrange(queue + DELAYED_SUFFIX, 0, 0, withscores=True)
        try:
            *answers, delayed = await pipeline.execute()
        except (RedisError, OSError) as error:
            raise RecordsUnavailable from error
        oldest = [_oldest_enqueued_at(front) for front in answers[1::2] if front]
        known = [at for at in oldest if at is not None]
        return QueueView(
            length=sum(answers[0::2]),
            oldest_enqueued_at=min(known) if oldest and len(known) == len(oldest) else None,
            next_due_at=delayed[0][1] if delayed else math.inf,
        )

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


def _oldest_enqueued_at(front: list[bytes]) -> float | None:
    """Since when the oldest message of a list waits, judged by the next few. None when one of them is unreadable.

    A delayed message that is due comes to the front though it was sent after others, so it tells nothing of them.
    """
    try:
        headers = [msgspec.json.decode(raw)["headers"] for raw in front]
        waiting = [float(header["enqueued_at"]) for header in headers if not header.get("eta")]
    except (msgspec.MsgspecError, AttributeError, KeyError, TypeError, ValueError):
        return None
    return min(waiting, default=None)
