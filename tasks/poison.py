"""Dead-letters a task that has killed the process it ran in alone.

A task whose workers died twice may have been an innocent neighbour of whatever killed them, so it is tried once more in
a process of its own (`tasks/pool`). When that dies as well there is no doubt left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog

from tasks.catalog import tasks as rows
from tasks.errors import RecordsUnavailable, WorkerKilled
from tasks.ledger import RecordLedger, describe, show
from tasks.records import Record, from_row

if TYPE_CHECKING:
    from tasks.parts import Parts

log = structlog.get_logger(__name__)


async def bury(
    parts: Parts, sent: Record, arguments: dict[str, Any], context: dict[str, str], killed: WorkerKilled
) -> None:
    """Writes the dead letter, unless the task has finished. `sent` is the task's record as the message tells it.

    A durable task's row ends whatever lease the dead process held. Raises CatalogUnavailable, DiskFull.
    """
    if sent.durable:
        async with parts.catalog.write() as transaction:
            row = await rows.end(transaction, sent.task_id, "FAILURE", describe(killed), parts.clock.now())
        if row is None:
            return
        await show(parts, from_row(row))
    elif not await _fail(parts, sent, arguments, context, killed):
        return
    log.error("task.dead", task_id=sent.task_id, actor=sent.actor, error=str(killed), **context)


async def _fail(
    parts: Parts, sent: Record, arguments: dict[str, Any], context: dict[str, str], killed: WorkerKilled
) -> bool:
    try:
        found = await parts.records.get(sent.task_id) or sent
    except RecordsUnavailable:
        found = sent
    if found.finished:
        return False
    await RecordLedger(parts, found, arguments, context).fail(describe(killed))
    return True
