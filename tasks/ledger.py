"""Where a run of a task is written down: when it begins and how it ends, for durable tasks and for others.

The order at a durable task's end is catalog, then record: what a poller sees has been committed. Redis being away costs
the view, never the work. A task that is in Redis only waits a while at its end for a Redis that restarts or fails over.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import msgspec
import structlog

from tasks.catalog import tasks as rows
from tasks.catalog.tasks import TaskError, TaskRow
from tasks.errors import LeaseLost, MoorageError, RecordsUnavailable
from tasks.job import Effect
from tasks.records import Record, from_row

if TYPE_CHECKING:
    from tasks.parts import Parts
    from tasks.result_copies import ResultCopy

T = TypeVar("T")

PATIENCE_SECONDS = 20.0
"""How long the end of a task that is in Redis only waits for it; Celery waits about as long to store a result."""
AGAIN_SECONDS = 0.5

log = structlog.get_logger(__name__)


class Ledger(Protocol):
    """The book-keeping of one run."""

    record: Record

    def holding(self) -> contextlib.AbstractAsyncContextManager[None]:
        """Keeps the task this run's own while the block runs. Raises LeaseLost from it when it is not any more."""

    async def succeed(self, result: Any, effects: Sequence[Effect], copy: ResultCopy | None = None) -> None:
        """Writes down a result together with its effects, and if it can Celery's copy of it. Raises LeaseLost."""

    async def retry(self, error: TaskError, delay_seconds: float) -> None:
        """Writes down a failure that will be tried again, and sends the next try. Raises LeaseLost."""

    async def fail(self, error: TaskError) -> None:
        """Writes down the failure as a dead letter. Raises LeaseLost."""

    async def hand_back(self) -> None:
        """Gives the task back for another worker to start over, once the message is back in its queue.

        Raises LeaseLost.
        """


def describe(error: BaseException) -> TaskError:
    """What may be shown of an error: our own sentences, of others only the type."""
    if isinstance(error, MoorageError):
        return TaskError(type(error).__name__, str(error))
    return TaskError(type(error).__name__, "an unexpected error; the worker's log has it under this task's id")


class DurableLedger:
    """A row of the catalog under a lease, with a live record in front of it."""

    def __init__(self, parts: Parts, row: TaskRow, token: str) -> None:
        self._parts, self._row, self._token = parts, row, token
        self.record = from_row(row)

    @classmethod
    async def begin(cls, parts: Parts, task_id: str) -> DurableLedger | None:
        """Claims the task. None when there is nothing to do: it is finished, held by a live worker, or unknown."""
        token = str(uuid.uuid4())
        async with parts.catalog.write() as transaction:
            row = await rows.claim(transaction, task_id, token, parts.clock.now(), parts.leases.lease_seconds)
        if row is not None:
            ledger = cls(parts, row, token)
            await show(parts, ledger.record)
            return ledger
        async with parts.catalog.read() as connection:
            row = await rows.get(connection, task_id)
        if row is not None and row.state in rows.FINISHED:
            await show(parts, from_row(row))
        log.info("task.not_claimed", task_id=task_id, state=row.state if row else "unknown")
        return None

    @asynccontextmanager
    async def holding(self) -> AsyncIterator[None]:
        """Renews the lease while the block runs."""
        async with self._parts.leases.holding(self._token) as lease:
            try:
                yield
            except asyncio.CancelledError:
                if lease.lost:
                    raise LeaseLost(self._row.id) from None
                raise

    async def succeed(self, result: Any, effects: Sequence[Effect], copy: ResultCopy | None = None) -> None:
        """One commit: SUCCESS, the result and the effects."""
        now = self._parts.clock.now()
        async with self._parts.catalog.write() as transaction:
            self._kept(await rows.succeed(transaction, self._row.id, self._token, result, now))
            for effect in effects:
                await effect(transaction)
        await self._show(copy, state="SUCCESS", progress=100.0, result=result, error=None, finished_at=now)

    async def retry(self, error: TaskError, delay_seconds: float) -> None:
        """The row waits until it is due; its message is sent at once, with that time."""
        due_at = self._parts.clock.now() + delay_seconds
        async with self._parts.catalog.write() as transaction:
            self._kept(await rows.retry(transaction, self._row.id, self._token, error, due_at))
        attempt = self._row.attempt + 1
        await self._show(state="RETRY", attempt=attempt, error=error)
        waits = msgspec.structs.replace(self._row, state="RETRY", attempt=attempt, error=error, due_at=due_at)
        await self._parts.dispatcher.hint(waits)

    async def fail(self, error: TaskError) -> None:
        """The row becomes a dead letter."""
        now = self._parts.clock.now()
        async with self._parts.catalog.write() as transaction:
            self._kept(await rows.fail(transaction, self._row.id, self._token, error, now))
        await self._show(state="FAILURE", error=error, finished_at=now)

    async def hand_back(self) -> None:
        """The row waits again. Its lease must be gone before the message is back in its queue."""
        now = self._parts.clock.now()
        async with self._parts.catalog.write() as transaction:
            self._kept(await rows.release(transaction, self._row.id, self._token, now))
        await self._show(state="PENDING")

    def _kept(self, changed: bool) -> None:
        if not changed:
            raise LeaseLost(self._row.id)

    async def _show(self, copy: ResultCopy | None = None, **changes: Any) -> None:
        await show(self._parts, msgspec.structs.replace(self.record, **changes), copy)


class RecordLedger:
    """A live record and nothing else; a row only when the task dies."""

    def __init__(self, parts: Parts, record: Record, arguments: dict[str, Any], context: dict[str, str]) -> None:
        self._parts, self._arguments, self._context = parts, arguments, context
        self.record = record

    @classmethod
    async def begin(
        cls, parts: Parts, sent: Record, arguments: dict[str, Any], context: dict[str, str]
    ) -> RecordLedger | None:
        """Starts the task. `sent`, its record as the message tells it, is all there is to know of a first start, or of
        a record that Redis lost or cannot give. None when the task is finished."""
        record = _started(sent, sent.attempt, parts.clock.now())
        try:
            found = await parts.records.begin(record)
        except RecordsUnavailable:
            log.warning("record.not_written", task_id=record.task_id, state=record.state)
            found = None
        if found is not None:
            if found.finished:
                return None
            record = _started(found, sent.attempt, parts.clock.now())
            await show(parts, record)
        return cls(parts, record, arguments, context)

    def holding(self) -> contextlib.AbstractAsyncContextManager[None]:
        """Nobody else can have it: its message is this worker's until it is acknowledged."""
        return contextlib.nullcontext()

    async def succeed(self, result: Any, effects: Sequence[Effect], copy: ResultCopy | None = None) -> None:
        """The record says SUCCESS."""
        if effects:
            async with self._parts.catalog.write() as transaction:
                for effect in effects:
                    await effect(transaction)
        now = self._parts.clock.now()
        await self._show_end(copy, state="SUCCESS", progress=100.0, result=result, error=None, finished_at=now)

    async def retry(self, error: TaskError, delay_seconds: float) -> None:
        """The next message is sent with its time. Raises RecordsUnavailable."""
        record = await self._show(state="RETRY", attempt=self.record.attempt + 1, error=error)
        send, rest = self._parts.dispatcher.send, (self._arguments, self._context)
        await _patiently(lambda: send(record, *rest, delay_seconds=delay_seconds))

    async def fail(self, error: TaskError) -> None:
        """The task gets its row, as a dead letter. Before that its record does not say that it has ended."""
        ended: dict[str, Any] = {"state": "FAILURE", "error": error, "finished_at": self._parts.clock.now()}
        record = msgspec.structs.replace(self.record, **ended)
        row = TaskRow(
            id=record.task_id,
            owner=record.owner,
            actor=record.actor,
            queue=record.queue,
            arguments=self._arguments,
            context=self._context,
            state="FAILURE",
            attempt=record.attempt,
            starts=record.starts,
            due_at=record.created_at,
            error=error,
            created_at=record.created_at,
            started_at=record.started_at,
            finished_at=record.finished_at,
        )
        async with self._parts.catalog.write() as transaction:
            if await rows.get(transaction, row.id) is None:  # its worker may have died between this and the record
                await rows.add(transaction, row)
        await self._show_end(**ended)

    async def hand_back(self) -> None:
        """The record says so; the message is the task."""
        await self._show(state="PENDING")

    async def _show(self, **changes: Any) -> Record:
        record = msgspec.structs.replace(self.record, **changes)
        await show(self._parts, record)
        return record

    async def _show_end(self, copy: ResultCopy | None = None, **changes: Any) -> Record:
        """Nothing else would ever tell that the task has ended."""
        record = msgspec.structs.replace(self.record, **changes)
        try:
            await _patiently(lambda: _write(self._parts, record, copy))
        except RecordsUnavailable:
            log.warning("record.not_written", task_id=record.task_id, state=record.state)
        return record


async def show(parts: Parts, record: Record, copy: ResultCopy | None = None) -> None:
    """Writes a live record, with Celery's copy of its result if they may go together, as far as Redis is there."""
    try:
        await _write(parts, record, copy)
    except RecordsUnavailable:
        log.warning("record.not_written", task_id=record.task_id, state=record.state)


async def _write(parts: Parts, record: Record, copy: ResultCopy | None) -> None:
    stored = None if copy is None else copy.of(record.result, parts.settings)
    if copy is None or stored is None:
        await parts.records.write(record)
    elif await parts.records.finish(record, stored):
        copy.mark_stored()


async def _patiently(do: Callable[[], Awaitable[T]]) -> T:
    """Does it, if need be when Redis is back. Raises RecordsUnavailable when that takes too long."""
    time, give_up_at = asyncio.get_running_loop().time, math.inf
    while True:
        try:
            return await do()
        except RecordsUnavailable:
            if give_up_at == math.inf:
                log.warning("task.waits_for_redis", at_most_seconds=PATIENCE_SECONDS)
                give_up_at = time() + PATIENCE_SECONDS
            if time() >= give_up_at:
                raise
        await asyncio.sleep(AGAIN_SECONDS)


def _started(record: Record, attempt: int, now: float) -> Record:
    return msgspec.structs.replace(
        record,
        state="STARTED",
        starts=record.starts + 1,
        attempt=attempt,
        progress=0.0,  # what an earlier start had reported is gone with it
        message="",
        started_at=record.started_at or now,
    )
