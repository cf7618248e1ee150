"""Moorage's own worker as its users run it, and an actor that does nothing.

Run as a program it sends one of them, as the API sends its diagnostics.
"""

from __future__ import annotations

import asyncio
import uuid

from tasks.actor import actor
from tasks.job import Job
from tasks.queues import UPKEEP
from tasks.records import Record
from tasks.worker import app, open_parts  # noqa: F401 - `celery -A` wants the wired application here


@actor(queue=UPKEEP)
async def noop(job: Job) -> None:
    """Nothing, with a record, a result, metrics and its log lines."""


async def send() -> None:
    """One task."""
    parts = await open_parts()
    record = Record(
        task_id=str(uuid.uuid4()),
        owner="engine",
        actor=noop.name,
        queue=noop.queue,
        durable=False,
        created_at=parts.clock.now(),
    )
    await parts.dispatcher.send(record, {}, {"request_id": str(uuid.uuid4())})
    await parts.close()


if __name__ == "__main__":
    asyncio.run(send())
