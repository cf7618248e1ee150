"""Writes down that a task was cancelled through Celery (`control.revoke`), before it ran or while it did."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import msgspec
import structlog

from tasks.catalog import tasks as rows
from tasks.errors import RecordsUnavailable
from tasks.ledger import show
from tasks.records import Record, from_row

if TYPE_CHECKING:
    from tasks.parts import Parts

log = structlog.get_logger(__name__)


def is_revoked(task_id: str) -> bool:
    """Whether this worker has been told to cancel the task."""
    state = sys.modules.get("celery.worker.state")
    return state is not None and task_id in state.revoked


async def write_down(parts: Parts, sent: Record) -> None:
    """Makes an unfinished task REVOKED, whoever holds it. `sent` is its record as the message tells it.

    Raises CatalogUnavailable, DiskFull.
    """
    if sent.durable:
        async with parts.catalog.write() as transaction:
            row = await rows.end(transaction, sent.task_id, "REVOKED", None, parts.clock.now())
        record = None if row is None else from_row(row)
    else:
        record = await _revoked(parts, sent)
    if record is not None:
        await show(parts, record)
        log.info("task.cancelled", task_id=sent.task_id, actor=sent.actor)


async def _revoked(parts: Parts, sent: Record) -> Record | None:
    try:
        found = await parts.records.get(sent.task_id) or sent
    except RecordsUnavailable:
        found = sent
    return None if found.finished else msgspec.structs.replace(found, state="REVOKED", finished_at=parts.clock.now())
