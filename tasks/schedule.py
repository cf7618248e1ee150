"""What beat sends, in one table: actor, period in seconds, and why."""

from __future__ import annotations

from typing import Any

import msgspec

from tasks.queues import SCHEDULE


class Entry(msgspec.Struct, frozen=True):
    """One line of the schedule. A message nobody took within its period is dropped: the next one does its work."""

    actor: str
    every_seconds: float
    purpose: str


ENTRIES = (
    Entry("reconcile", 2.0, "re-sends accepted tasks whose message or worker is gone"),
    Entry("sweep", 15.0, "removes what interrupted uploads left on the data volume"),
)


def beat_schedule() -> dict[str, dict[str, Any]]:
    """The table as Celery beat reads it."""
    return {
        entry.actor: {
            "task": entry.actor,
            "schedule": entry.every_seconds,
            "options": {"queue": SCHEDULE, "expires": entry.every_seconds},
        }
        for entry in ENTRIES
    }
