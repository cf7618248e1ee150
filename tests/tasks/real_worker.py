"""A real Celery worker of this project in a process of its own, and uploads for it to ingest."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tasks.catalog import tasks as rows
from tasks.catalog import uploads
from tasks.catalog.tasks import TaskRow
from tasks.catalog.uploads import UploadRow
from tasks.heartbeat import read_signs
from tasks.jobs.ingest import ingest
from tasks.parts import Parts
from tasks.queues import QUEUES
from tasks.records import Record
from tests.waiting import eventually

START_SECONDS = 60.0
FINISH_SECONDS = 40.0


class RealWorker:
    """The process and its log."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process, self._log = process, log

    def log_lines(self) -> list[dict[str, Any]]:
        """Its log so far; every line must be JSON."""
        return [json.loads(line) for line in self._log.read_text().splitlines()]

    def kill(self) -> None:
        """Ends it and its children in the middle of whatever they do."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    async def stop(self, deadline_seconds: float) -> int:
        """Sends SIGTERM and returns the exit code."""
        self.process.terminate()
        return await asyncio.to_thread(self.process.wait, deadline_seconds)


@asynccontextmanager
async def running_worker(
    parts: Parts, *options: str, application: str = "tasks.worker", **variables: str
) -> AsyncIterator[RealWorker]:
    """A worker on the parts' data folder and broker that consumes every queue."""
    name = f"w{uuid.uuid4().hex[:8]}"
    log = parts.settings.data / f"{name}.log"
    command = [sys.executable, "-m", "celery", "-A", application, "--quiet", "worker", "-Q", ",".join(QUEUES)]
    command += ["-n", f"{name}@%h", "-c", "2", "--without-gossip", "--without-mingle", *options]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("MOORAGE_")}
    environ |= {"MOORAGE_DATA": str(parts.settings.data), "REDIS_URL": parts.settings.redis_url}
    environ |= {"MOORAGE_LOG_FORMAT": "json"} | variables

    async def is_ready() -> bool:
        assert process.poll() is None, log.read_text()
        signs = await read_signs(parts.redis, parts.clock.now())
        return any(sign.hostname.startswith(name) for sign in signs)

    with log.open("wb") as out:
        process = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=out, start_new_session=True)
    worker = RealWorker(process, log)
    try:
        await eventually(is_ready, START_SECONDS)
        yield worker
    finally:
        if process.poll() is None:
            worker.kill()


async def accept_upload(parts: Parts, content: bytes = b"hello", size_bytes: int | None = None) -> TaskRow:
    """An upload as the API accepts it: `content`, with zeros up to `size_bytes`."""
    task_id, now = str(uuid.uuid4()), parts.clock.now()
    size_bytes = len(content) if size_bytes is None else size_bytes
    staged = await parts.staging.create(task_id)
    await staged.write([content])
    os.truncate(parts.staging.sealed_path(task_id).with_suffix(".part"), size_bytes)
    await staged.seal()
    described = {"filename": "a.bin", "content_type": "text/plain", "profile": "unixfs-v1-2025"}
    arguments: dict[str, Any] = described | {"size_bytes": size_bytes}
    row = TaskRow(
        id=task_id,
        owner="ann",
        actor=ingest.name,
        queue=ingest.queue,
        arguments=arguments,
        context={"request_id": f"request-of-{task_id}"},
        due_at=now,
        created_at=now,
    )
    async with parts.catalog.write() as transaction:
        await rows.add(transaction, row)
        await uploads.add(transaction, UploadRow(task_id=task_id, owner="ann", created_at=now, **arguments))
    await staged.close()
    return row


async def record_in(parts: Parts, task_id: str, *states: str) -> Record:
    """The live record, once it is in one of `states`."""

    async def look() -> Record | None:
        record = await parts.records.get(task_id)
        return record if record is not None and record.state in states else None

    found = await eventually(look, FINISH_SECONDS)
    assert found is not None
    return found
