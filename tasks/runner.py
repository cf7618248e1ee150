"""Runs one delivery of one task: begin, body, end. Everything Celery's tracer sees of it is the outcome.

A result is returned, a failure raised, a failure to be tried again raised as Celery's Retry; Ignore stands for "not
ours to finish": finished before, held by another worker, cancelled, or not to be written down now, so that the
reconciler will bring it back. A Reject puts the message back into its queue, and none is sent in its place: that of
what is stopped with its worker, and of what cannot be written down and has no row for the reconciler to find.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import structlog
from celery.exceptions import Ignore, Reject, Retry

from tasks import revocation
from tasks.errors import CatalogUnavailable, DiskFull, LeaseLost, RecordsUnavailable
from tasks.job import Job
from tasks.ledger import DurableLedger, Ledger, RecordLedger, describe
from tasks.poison import bury, is_given_up, worker_lost
from tasks.pool.losses import losses_in
from tasks.records import Record
from tasks.reporting import Reporting

if TYPE_CHECKING:
    from tasks.actor import Actor
    from tasks.parts import Parts
    from tasks.result_copies import ResultCopy

T = TypeVar("T")

NOT_WRITTEN_DOWN = (CatalogUnavailable, RecordsUnavailable, DiskFull)
AGAIN_SECONDS = 1.0
"""How long a message is kept that goes back because its task's end could not be written down."""

log = structlog.get_logger(__name__)


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """What the message said beside the arguments."""

    task_id: str
    attempt: int
    context: dict[str, str]
    created_at: float | None = None
    """When the task was accepted, in epoch seconds, if it was one of our own who sent it."""
    losses: int = 0
    """How often a worker died that had the message."""

    @classmethod
    def of(cls, headers: Mapping[str, Any]) -> Delivery:
        """Reads a message's headers. Whoever can reach the broker writes them."""
        created_at, context = headers.get("created_at"), headers.get("moorage_context")
        return cls(
            task_id=headers["id"],
            attempt=headers.get("retries") or 0,
            context=dict(context) if isinstance(context, dict) else {},
            created_at=created_at if isinstance(created_at, float) else None,
            losses=losses_in(headers),
        )

    def record(self, actor: Actor, now: float) -> Record:
        """The task's record as far as its message tells."""
        return Record(
            task_id=self.task_id,
            owner=self.context.get("owner_id", ""),
            actor=actor.name,
            queue=actor.queue,
            durable=actor.durable,
            attempt=self.attempt,
            created_at=self.created_at or now,
        )


async def perform(
    parts: Parts, actor: Actor, delivery: Delivery, arguments: dict[str, Any], copy: ResultCopy | None = None
) -> Any:
    """Runs the task to its outcome, see above. `copy` is what Celery will store of a success, if it is to be stored
    together with the record."""
    ledger: Ledger | None = None
    try:
        if not actor.keep_result:
            job = Job(parts, task_id=delivery.task_id, owner="", attempt=delivery.attempt)
            return msgspec.to_builtins(await actor.body(job, **actor.check(arguments)))
        if is_given_up(delivery.losses, parts.settings.pool):
            sent = delivery.record(actor, parts.clock.now())
            await _written_down(actor, bury(parts, sent, arguments, delivery.context, worker_lost(delivery.losses)))
            raise Ignore
        ledger = await _written_down(actor, _begin(parts, actor, delivery, arguments))
        if ledger is None:
            raise Ignore
        return await _run(parts, actor, ledger, arguments, copy)
    except LeaseLost:
        log.warning("task.lease_lost", task_id=delivery.task_id)
        raise Ignore from None
    except asyncio.CancelledError:
        if not actor.keep_result or revocation.is_revoked(delivery.task_id):
            raise Ignore from None
        if ledger is not None:
            await _hand_back(ledger)
        raise Reject("the worker stops", requeue=True) from None


async def _hand_back(ledger: Ledger) -> None:
    try:
        await ledger.hand_back()
    except LeaseLost:
        raise Ignore from None
    except NOT_WRITTEN_DOWN as error:  # whoever takes the message next finds it held, and the reconciler frees it
        log.warning("task.not_written_down", reason=type(error).__name__)
    else:
        log.info("task.handed_back", task_id=ledger.record.task_id)


async def _begin(parts: Parts, actor: Actor, delivery: Delivery, arguments: dict[str, Any]) -> Ledger | None:
    if actor.durable:
        return await DurableLedger.begin(parts, delivery.task_id)
    sent = delivery.record(actor, parts.clock.now())
    return await RecordLedger.begin(parts, sent, arguments, delivery.context)


async def _run(parts: Parts, actor: Actor, ledger: Ledger, arguments: dict[str, Any], copy: ResultCopy | None) -> Any:
    record = ledger.record
    job = Job(parts, task_id=record.task_id, owner=record.owner, attempt=record.attempt)
    try:
        async with ledger.holding():
            with Reporting(parts, record, job):
                result = msgspec.to_builtins(await actor.body(job, **actor.check(arguments)))
        await _written_down(actor, ledger.succeed(result, job.effects, copy))
    except (LeaseLost, Ignore, Reject):
        raise
    except Exception as error:
        await _after_failure(parts, actor, ledger, error)
        raise
    return result


async def _after_failure(parts: Parts, actor: Actor, ledger: Ledger, error: Exception) -> None:
    """Writes the failure down. Raises Retry when it will be tried again."""
    delay_seconds = actor.retries.delay_seconds(error, ledger.record.attempt, random)
    if delay_seconds is None:
        await _written_down(actor, ledger.fail(describe(error)))
        return
    await _written_down(actor, ledger.retry(describe(error), delay_seconds))
    due_at = datetime.fromtimestamp(parts.clock.now() + delay_seconds, UTC)
    raise Retry(str(error), error, due_at) from error


async def _written_down(actor: Actor, writing: Awaitable[T]) -> T:
    try:
        return await writing
    except NOT_WRITTEN_DOWN as error:
        log.warning("task.not_written_down", reason=type(error).__name__)
        if actor.durable:
            raise Ignore from error
        await asyncio.sleep(AGAIN_SECONDS)  # or what fails at once would come again at once
        raise Reject("it could not be written down", requeue=True) from error
