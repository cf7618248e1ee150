"""Bodies to run, ways to run them, and what can be seen of it afterwards."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from sqlalchemy import text

from tasks.actor import Actor
from tasks.catalog import tasks as rows
from tasks.catalog.engine import Transaction
from tasks.catalog.tasks import TaskRow
from tasks.errors import DiskFull, InvalidArguments, InvalidCID
from tasks.job import Job
from tasks.parts import Parts
from tasks.records import Record
from tasks.result_copies import ResultCopy
from tasks.retries import RetryPolicy
from tasks.runner import Delivery, perform

NewRow = Callable[..., TaskRow]
POLICY = RetryPolicy(
    max_retries=2, min_backoff_seconds=1.0, max_backoff_seconds=60.0, never_retry=(InvalidArguments, InvalidCID)
)


def make_actor(body: Any, *, durable: bool = True, retries: RetryPolicy = POLICY, keep_result: bool = True) -> Actor:
    return Actor(body, queue="upload", durable=durable, retries=retries, keep_result=keep_result)


async def run(
    parts: Parts, actor: Actor, task_id: str, attempt: int = 0, copy: ResultCopy | None = None, **arguments: Any
) -> Any:
    """One delivery, under a deadline."""
    delivery = Delivery(task_id=task_id, attempt=attempt, context={"owner_id": "ann", "request_id": "r"})
    async with asyncio.timeout(20):
        return await perform(parts, actor, delivery, arguments, copy)


async def accept(parts: Parts, row: TaskRow) -> str:
    async with parts.catalog.write() as transaction:
        await rows.add(transaction, row)
    return row.id


async def row_of(parts: Parts, task_id: str) -> TaskRow:
    async with parts.catalog.read() as connection:
        found = await rows.get(connection, task_id)
    assert found is not None
    return found


async def record_of(parts: Parts, task_id: str) -> Record:
    found = await parts.records.get(task_id)
    assert found is not None
    return found


async def messages_in(parts: Parts, queue: str = "upload") -> list[dict[str, Any]]:
    found: Any = await parts.broker.lrange(queue, 0, -1)
    return [json.loads(raw)["headers"] for raw in found]


async def double(job: Job, number: int) -> int:
    """Twice the number."""
    return 2 * number


async def break_down(job: Job) -> None:
    """Fails for a reason that may go away."""
    raise DiskFull


async def must_not_run(job: Job) -> None:
    """Is never called."""
    raise AssertionError("it ran")


async def rename_owner(transaction: Transaction) -> None:
    """An effect that can be seen."""
    await transaction.execute(text("UPDATE tasks SET owner = 'renamed'"))


class Waiting:
    """A body that says when it has begun and then goes on until it is let go or cancelled."""

    def __init__(self) -> None:
        self.begun, self.may_end, self.cancelled = asyncio.Event(), asyncio.Event(), False

    def body(self) -> Any:
        async def wait(job: Job) -> str:
            job.with_success(rename_owner)
            job.progress(40.0, "waiting")
            self.begun.set()
            try:
                await self.may_end.wait()
            except asyncio.CancelledError:
                self.cancelled = True
                raise
            return "done"

        return wait
