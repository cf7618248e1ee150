"""Turns a staged upload into content: from here on it is known by its CID."""

from __future__ import annotations

import msgspec

from tasks.actor import actor
from tasks.catalog import uploads
from tasks.catalog.engine import Transaction
from tasks.errors import StagedFileMissing
from tasks.job import Job
from tasks.queues import UPLOAD
from tasks.stores.protocol import Profile


class Ingested(msgspec.Struct, frozen=True):
    """An upload's result."""

    cid: str
    filename: str
    size_bytes: int
    content_type: str
    profile: Profile


@actor(queue=UPLOAD, durable=True, max_retries=6, max_backoff_seconds=300, never_retry=(StagedFileMissing,))
async def ingest(job: Job, filename: str, content_type: str, size_bytes: int, profile: Profile) -> Ingested:
    """Adds the staged file of this task to the store and notes its CID with the upload.

    Safe to run again at any point: the store knows the addition by the task's id.
    """
    staged = job.parts.staging.sealed_path(job.task_id)

    def report(hashed_bytes: int) -> None:
        job.progress(100.0 * hashed_bytes / max(1, size_bytes), "hashing")

    added = await job.parts.store.add_file(staged, job.task_id, profile, report)
    cid = str(added.cid)

    async def note_cid(transaction: Transaction) -> None:
        await uploads.set_cid(transaction, job.task_id, cid)

    job.with_success(note_cid)
    job.log.info("upload.ingested", cid=cid, size_bytes=added.size_bytes, profile=profile)
    return Ingested(cid, filename, added.size_bytes, content_type, profile)
