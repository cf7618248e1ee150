"""Holds the queues to the catalog: an accepted task whose worker or message is gone is sent again.

Sending one time too many is harmless, because a task is claimed before it runs; so the question "is its message gone?"
is answered cheaply and, when in doubt, with yes: a queue is first in, first out, so a message that was sent before the
oldest that waits in its queue has been taken. What was taken but has not begun is sent again ever more rarely.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import structlog

from tasks.catalog import tasks as rows
from tasks.catalog.tasks import TaskRow
from tasks.ledger import show
from tasks.poison import is_given_up, worker_lost
from tasks.queues import QUEUES
from tasks.records import from_row

if TYPE_CHECKING:
    from tasks.parts import Parts

log = structlog.get_logger(__name__)


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
        if not is_given_up(row.losses, self._parts.settings.pool):
            await show(self._parts, from_row(row))
            return False
        error = worker_lost(row.losses)
        async with self._parts.catalog.write() as transaction:
            failed = await rows.fail_waiting(transaction, row.id, error, now)
        if failed:  # else a message was still on its way, and a worker tries it once more
            dead = msgspec.structs.replace(row, state="FAILURE", error=error, finished_at=now)
            await show(self._parts, from_row(dead))
            log.error("task.dead", task_id=row.id, actor=row.actor, error=error.message)
        return True

    async def _overdue(self) -> list[TaskRow]:
        found: list[TaskRow] = []
        for queue in QUEUES:  # each for itself: a queue that is stuck must not hide what another has lost
            view = await self._parts.dispatcher.view(queue)
            async with self._parts.catalog.read() as connection:
                found += await rows.overdue(
                    connection,
                    queue,
                    gone_before=view.gone_before,
                    now=self._parts.clock.now(),
                    patience_seconds=self._parts.settings.resend_after_seconds,
                )
        return found

    async def _send(self, missing: list[TaskRow]) -> int:
        sent = [row.id for row in missing if await self._parts.dispatcher.hint(row)]
        if sent:
            async with self._parts.catalog.write() as transaction:
                await rows.mark_dispatched(transaction, sent, self._parts.clock.now())
            log.warning("reconcile.sent_again", tasks=len(sent))
        return len(sent)
