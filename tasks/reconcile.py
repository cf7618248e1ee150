"""Holds the queues to the catalog: an accepted task whose worker or message is gone is sent again.

Sending one time too many is harmless, because a task is claimed before it runs; so the question "is its message gone?"
is answered cheaply and, when in doubt, with yes: a queue is first in, first out, so a message that is younger than the
oldest in its queue has been taken. What was taken but has not begun is sent again ever more rarely.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from tasks.catalog import tasks as rows
from tasks.catalog.tasks import TaskError, TaskRow
from tasks.dispatch import QueueView
from tasks.ledger import show
from tasks.records import from_row

if TYPE_CHECKING:
    from tasks.parts import Parts

MOST_STARTS = 10
"""A task whose workers died this many times is taken for their murderer and dead-lettered."""

SLOWEST_DOUBLING = 6
"""Re-sends of one task are at most 2**6 times `resend_after_seconds` apart."""

log = structlog.get_logger(__name__)


def is_overdue(row: TaskRow, now: float, resend_after_seconds: float) -> bool:
    """Whether a waiting task has waited so long since it was ready, or last sent, that its message is worth a look."""
    patience_seconds = resend_after_seconds * 2.0 ** min(row.dispatches, SLOWEST_DOUBLING)
    return now > sent_at(row) + patience_seconds


def sent_at(row: TaskRow) -> float:
    """When the row's last message was sent, or was to be run."""
    return max(row.due_at, row.dispatched_at or 0.0)


class Reconciler:
    """One pass over the catalog."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def run(self) -> int:
        """Releases what dead workers held and re-sends what has no message; returns how many were sent."""
        orphans = await self._release_orphans()
        overdue = await self._overdue()
        return await self._send([*orphans, *overdue])

    async def _release_orphans(self) -> list[TaskRow]:
        now = self._parts.clock.now()
        async with self._parts.catalog.write() as transaction:
            released = await rows.release_expired(transaction, now)
        for row in released:
            log.warning("task.worker_lost", task_id=row.id, actor=row.actor, starts=row.starts, **row.context)
        return [row for row in released if not await self._gave_up(row, now)]

    async def _gave_up(self, row: TaskRow, now: float) -> bool:
        if row.starts < MOST_STARTS:
            await show(self._parts, from_row(row))
            return False
        error = TaskError("WorkerLost", f"its worker died in each of {row.starts} starts")
        async with self._parts.catalog.write() as transaction:
            await rows.fail_waiting(transaction, row.id, error, now)
        async with self._parts.catalog.read() as connection:
            failed = await rows.get(connection, row.id)
        assert failed is not None
        await show(self._parts, from_row(failed))
        log.error("task.dead", task_id=row.id, actor=row.actor, error=error.message)
        return True

    async def _overdue(self) -> list[TaskRow]:
        now, patience_seconds = self._parts.clock.now(), self._parts.settings.resend_after_seconds
        async with self._parts.catalog.read() as connection:
            waiting = await rows.waiting(connection, due_before=now - patience_seconds)
        candidates = [row for row in waiting if is_overdue(row, now, patience_seconds)]
        views: dict[str, QueueView] = {}
        for queue in {row.queue for row in candidates}:
            views[queue] = await self._parts.dispatcher.view(queue)
        return [row for row in candidates if not views[row.queue].may_hold(sent_at(row))]

    async def _send(self, missing: list[TaskRow]) -> int:
        sent = [row.id for row in missing if await self._parts.dispatcher.hint(row)]
        if sent:
            async with self._parts.catalog.write() as transaction:
                await rows.mark_dispatched(transaction, sent, self._parts.clock.now())
            log.warning("reconcile.sent_again", tasks=len(sent))
        return len(sent)
