"""What the API answers with, as msgspec structs. Times are RFC 3339 in UTC, sizes are bytes, progress is 0–100."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from tasks.catalog.tasks import State, TaskError
from tasks.heartbeat import ActiveTask
from tasks.records import STATUSES, Record, Status


class StatusData(msgspec.Struct, frozen=True):
    """The short form that pollers read. `result` is there on SUCCESS, `error` after a failure."""

    task_id: str
    state: State
    progress: float
    message: str
    result: Any = UNSET
    error: TaskError | UnsetType = UNSET


class StatusAnswer(msgspec.Struct, frozen=True):
    """`status` repeats the HTTP status, for clients that see bodies only."""

    data: StatusData
    status: int = 200


class TaskView(msgspec.Struct, frozen=True, kw_only=True):
    """The whole record of a task."""

    task_id: str
    state: State
    status: Status
    progress: float
    message: str
    result: Any
    error: TaskError | None
    actor: str
    queue: str
    attempt: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class ResultAnswer(msgspec.Struct, frozen=True):
    """A finished task's result."""

    task_id: str
    state: State
    status: Status
    result: Any


class TaskList(msgspec.Struct, frozen=True):
    """A page of the owner's tasks, newest first; `next_before` continues it, and is null on the last page only: a page
    before that can be shorter than asked for.

    `count` is the number of tasks on this page; `active_tasks` what each live worker runs for this owner right now.
    """

    tasks: list[TaskView]
    count: int
    next_before: datetime | None
    active_tasks: dict[str, list[ActiveTask]]


class UploadAnswer(msgspec.Struct, frozen=True):
    """An accepted upload: its bytes are safe, its CID is on the way."""

    task_id: str
    state: State
    filename: str
    size_bytes: int
    status_url: str


class Submitted(msgspec.Struct, frozen=True):
    """An accepted diagnostic."""

    task_id: str
    message: str
    status: str = "submitted"


def status_answer(record: Record) -> StatusAnswer:
    """The short form of a record."""
    return StatusAnswer(
        StatusData(
            task_id=record.task_id,
            state=record.state,
            progress=round(record.progress, 1),
            message=record.message,
            result=record.result if record.state == "SUCCESS" else UNSET,
            error=record.error if record.error is not None else UNSET,
        )
    )


def task_view(record: Record) -> TaskView:
    """The long form of a record."""
    return TaskView(
        task_id=record.task_id,
        state=record.state,
        status=STATUSES[record.state],
        progress=round(record.progress, 1),
        message=record.message,
        result=record.result,
        error=record.error,
        actor=record.actor,
        queue=record.queue,
        attempt=record.attempt,
        created_at=_utc(record.created_at),
        started_at=None if record.started_at is None else _utc(record.started_at),
        finished_at=None if record.finished_at is None else _utc(record.finished_at),
    )


def _utc(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
