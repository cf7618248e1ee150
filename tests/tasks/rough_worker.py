"""The worker as it is, with actors that no installation should have."""

from __future__ import annotations

import asyncio
import os
import signal

from tasks.actor import actor
from tasks.job import Job
from tasks.queues import UPKEEP
from tasks.worker import app

app.conf.asyncio_pool_application = "tests.tasks.rough_worker:app"


def die() -> None:
    """Ends the process that runs this, without a word."""
    os.kill(os.getpid(), signal.SIGKILL)


@actor(queue=UPKEEP)
async def kill(job: Job, why: str) -> None:
    """Kills its process."""
    die()


@actor(queue=UPKEEP, durable=True)
async def kill_durably(job: Job) -> None:
    """Kills its process."""
    die()


@actor(queue=UPKEEP, durable=True)
async def wait_durably(job: Job) -> None:
    """Never ends by itself."""
    await asyncio.Event().wait()
