"""Publishes a job's progress while its body runs, and keeps its record from expiring."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import TYPE_CHECKING

import msgspec

from tasks.job import Job
from tasks.ledger import show
from tasks.records import Record

if TYPE_CHECKING:
    from tasks.parts import Parts

REPORT_SECONDS = 0.1
"""How often progress is published while it changes: within 250 ms also when the machine is busy."""

RENEW_SECONDS = 15.0
"""How often an unchanged record is published again, so that it does not expire."""


class Reporting:
    """Inside the block, what `job` reports is published a few times a second. A body that is soon done costs a timer
    and no task of the event loop."""

    def __init__(self, parts: Parts, record: Record, job: Job) -> None:
        self._parts, self._record, self._job = parts, record, job
        self._reporter: asyncio.Task[None] | None = None

    def __enter__(self) -> None:
        self._renew_at = self._parts.clock.monotonic() + RENEW_SECONDS
        self._timer = asyncio.get_running_loop().call_later(REPORT_SECONDS, self._begin)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if self._reporter is not None:
            self._reporter.cancel()

    def _begin(self) -> None:
        self._reporter = asyncio.create_task(self._report())

    async def _report(self) -> None:
        published = 0
        while True:
            if self._job.reports != published or self._parts.clock.monotonic() >= self._renew_at:
                published = self._job.reports
                await self._publish()
            await asyncio.sleep(REPORT_SECONDS)

    async def _publish(self) -> None:
        self._renew_at = self._parts.clock.monotonic() + RENEW_SECONDS
        state = "PROGRESS" if self._job.reports else "STARTED"
        progress, message = self._job.percent, self._job.message
        await show(self._parts, msgspec.structs.replace(self._record, state=state, progress=progress, message=message))
