"""Dead-letters a task that kills the processes it runs in.

A task whose workers died twice may have been an innocent neighbour of whatever killed them, so it is tried once more in
a process of its own (`tasks/pool`). When that dies as well there is no doubt left. Pools that run nothing alone can
only count: there a task whose workers died many times is given up, innocent or not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog

from tasks.catalog import tasks as rows
from tasks.catalog.tasks import TaskError
from tasks.errors import RecordsUnavailable
from tasks.ledger import RecordLedger, show
from tasks.records import Record, from_row

if TYPE_CHECKING:
    from tasks.parts import Parts

MOST_LOSSES = 10
"""Where nothing runs alone, a task whose workers died this many times is taken for their murderer."""

log = structlog.get_logger(__name__)


def is_given_up(losses: int, pool: str) -> bool:
    """Whether a task is not tried again for the number of its workers that died. The asyncio pool finds out instead."""
    return pool != "asyncio" and losses >= MOST_LOSSES


def worker_lost(losses: int) -> TaskError:
    """Why a task is not tried again, after so many deaths."""
    return TaskError("WorkerLost", f"its worker died {losses} times while it ran")


async def bury(
    parts: Parts, sent: Record, arguments: dict[str, Any], context: dict[str, str], error: TaskError
) -> None:
    """Writes the dead letter, unless the task has finished. `sent` is the task's record as the message tells it.

    A durable task's row ends whatever lease the dead process held. Raises CatalogUnavailable, DiskFull.
    """
    if sent.durable:
        async with parts.catalog.write() as transaction:
            row = await rows.end(transaction, sent.task_id, "FAILURE", error, parts.clock.now())
        if row is None:
            return
        await show(parts, from_row(row))
    elif not await _fail(parts, sent, arguments, context, error):
        return
    log.error("task.dead", task_id=sent.task_id, actor=sent.actor, error=error.message, **context)


async def _fail(
    parts: Parts, sent: Record, arguments: dict[str, Any], context: dict[str, str], error: TaskError
) -> bool:
    try:
        found = await parts.records.get(sent.task_id) or sent
    except RecordsUnavailable:
        found = sent
    if found.finished:
        return False
    await RecordLedger(parts, found, arguments, context).fail(error)
    return True
