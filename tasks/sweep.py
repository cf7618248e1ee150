"""Removes files that crashes left behind: parts of uploads that were cut off, and sealed files nobody accepted.

What belongs to a task that can still run, or to a dead letter that can be retried, is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import structlog

from tasks.catalog import tasks as rows
from tasks.stores.protocol import LeavesOrphans

if TYPE_CHECKING:
    from tasks.parts import Parts

log = structlog.get_logger(__name__)


async def sweep_files(parts: Parts) -> list[str]:
    """Sweeps the staging folder and the store; returns what was removed."""

    async def wanted(task_ids: Sequence[str]) -> set[str]:
        async with parts.catalog.read() as connection:
            states = await rows.known(connection, task_ids)
        return {task_id for task_id, state in states.items() if state not in {"SUCCESS", "REVOKED"}}

    removed = await parts.staging.sweep(wanted)
    if isinstance(parts.store, LeavesOrphans):
        orphans = await parts.store.orphans()
        for key in set(orphans) - await wanted(orphans):
            await parts.store.discard(key)
            removed.append(key)
    if removed:
        log.info("sweep.removed", files=len(removed))
    return removed
