"""The schedule's jobs. Each does all there is to do, so that a missed run costs nothing but time."""

from __future__ import annotations

from tasks.actor import actor
from tasks.job import Job
from tasks.queues import SCHEDULE
from tasks.reconcile import Reconciler
from tasks.sweep import sweep_files


@actor(queue=SCHEDULE, keep_result=False, max_retries=0)
async def reconcile(job: Job) -> None:
    """Makes every accepted task that is not on its way be on its way again."""
    await Reconciler(job.parts).run()


@actor(queue=SCHEDULE, keep_result=False, max_retries=0)
async def sweep(job: Job) -> None:
    """Removes files that nobody will come back for."""
    await sweep_files(job.parts)
