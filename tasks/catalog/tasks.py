"""Rows of `tasks`: what was accepted, who holds it, how it ended. Each change is one conditional statement.

    PENDING ──claim──▶ STARTED ──succeed──▶ SUCCESS
       ▲                 │  ├───fail──────▶ FAILURE   (a dead letter)
       │                 │  └───retry─────▶ RETRY ──claim──▶ STARTED
       └──release, or the lease ran out ──┘
    any of the unfinished ──end──▶ FAILURE, REVOKED

A holder is known by its lease token: `succeed`, `fail`, `retry` and `release` change nothing, and answer False, once
another worker has claimed the task.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import msgspec
from sqlalchemy import RowMapping, and_, case, func, insert, or_, select, update
from sqlalchemy.engine import CursorResult

from tasks.catalog.engine import Transaction
from tasks.catalog.mapping import as_struct
from tasks.catalog.schema import tasks

State = Literal["PENDING", "STARTED", "PROGRESS", "RETRY", "SUCCESS", "FAILURE", "REVOKED"]
"""PROGRESS is a live record's finer word for STARTED; a row never holds it."""

FINISHED: tuple[State, ...] = ("SUCCESS", "FAILURE", "REVOKED")
WAITING: tuple[State, ...] = ("PENDING", "RETRY")

EARLY_SECONDS = 1.0
"""How much too early a retry may start: the clocks of two machines differ a little."""

SLOWEST_DOUBLING = 6
"""Messages sent in vain for one task are at most 2**6 times the patience apart."""

MOST_IDS = 1_000
"""How many ids one statement names; PostgreSQL takes 32,767 arguments at most."""


class TaskError(msgspec.Struct, frozen=True):
    """Why a task failed, safe to show: the error's type and one sentence."""

    type: str
    message: str


class TaskRow(msgspec.Struct, frozen=True, kw_only=True):
    """One row of `tasks`."""

    id: str
    owner: str
    actor: str
    queue: str
    arguments: dict[str, Any]
    context: dict[str, str] = {}
    state: State = "PENDING"
    attempt: int = 0
    starts: int = 0
    losses: int = 0
    lease_token: str | None = None
    lease_expires_at: float | None = None
    due_at: float
    dispatches: int = 0
    dispatched_at: float | None = None
    result: Any = None
    error: TaskError | None = None
    created_at: float
    started_at: float | None = None
    finished_at: float | None = None


async def add(transaction: Transaction, row: TaskRow) -> None:
    """Accepts a task."""
    await transaction.execute(insert(tasks).values(msgspec.to_builtins(row)))


async def get(connection: Transaction, task_id: str) -> TaskRow | None:
    """One task, whoever owns it."""
    found = (await connection.execute(select(tasks).where(tasks.c.id == task_id))).mappings().one_or_none()
    return None if found is None else _row(found)


async def newest(
    connection: Transaction,
    owner: str,
    *,
    states: Sequence[State] = (),
    queue: str = "",
    actor: str = "",
    before: float | None = None,
    limit: int = 50,
) -> list[TaskRow]:
    """The owner's tasks, newest first; `before` is a `created_at` in seconds, not included."""
    query = select(tasks).where(tasks.c.owner == owner).order_by(tasks.c.created_at.desc(), tasks.c.id).limit(limit)
    if states:
        query = query.where(tasks.c.state.in_(states))
    if queue:
        query = query.where(tasks.c.queue == queue)
    if actor:
        query = query.where(tasks.c.actor == actor)
    if before is not None:
        query = query.where(tasks.c.created_at < before)
    return [_row(found) for found in (await connection.execute(query)).mappings()]


async def claim(transaction: Transaction, task_id: str, token: str, now: float, lease_seconds: float) -> TaskRow | None:
    """Takes the task, if it waits or its holder's lease ran out.

    None when it is finished, held, unknown, or failed so lately that its next try is not due: a message that was sent
    one time too many must not cut the pause short.
    """
    free = or_(
        tasks.c.state == "PENDING",
        and_(tasks.c.state == "RETRY", tasks.c.due_at <= now + EARLY_SECONDS),
        and_(tasks.c.state == "STARTED", tasks.c.lease_expires_at < now),
    )
    statement = (
        update(tasks)
        .where(tasks.c.id == task_id, free)
        .values(
            state="STARTED",
            starts=tasks.c.starts + 1,
            lease_token=token,
            lease_expires_at=now + lease_seconds,
            started_at=func.coalesce(tasks.c.started_at, now),
        )
        .returning(tasks)
    )
    found = (await transaction.execute(statement)).mappings().one_or_none()
    return None if found is None else _row(found)


async def renew(transaction: Transaction, tokens: Iterable[str], expires_at: float) -> set[str]:
    """Extends leases; returns the tokens that still hold their task."""
    statement = (
        update(tasks)
        .where(tasks.c.lease_token.in_(list(tokens)), tasks.c.state == "STARTED")
        .values(lease_expires_at=expires_at)
        .returning(tasks.c.lease_token)
    )
    return set((await transaction.execute(statement)).scalars())


async def succeed(transaction: Transaction, task_id: str, token: str, result: Any, now: float) -> bool:
    """Finishes a held task well. False: the lease was lost, and whatever else this transaction did must not commit."""
    return await _settle(transaction, task_id, token, state="SUCCESS", result=result, error=None, finished_at=now)


async def fail(transaction: Transaction, task_id: str, token: str, error: TaskError, now: float) -> bool:
    """Finishes a held task as a dead letter."""
    return await _settle(
        transaction, task_id, token, state="FAILURE", error=msgspec.to_builtins(error), finished_at=now
    )


async def retry(transaction: Transaction, task_id: str, token: str, error: TaskError, due_at: float) -> bool:
    """Puts a held task back to wait until `due_at`, its error kept for readers."""
    return await _settle(
        transaction,
        task_id,
        token,
        state="RETRY",
        attempt=tasks.c.attempt + 1,
        error=msgspec.to_builtins(error),
        due_at=due_at,
        dispatched_at=None,
    )


async def release(transaction: Transaction, task_id: str, token: str, now: float) -> bool:
    """Hands a held task back untouched, for another worker to start over."""
    return await _settle(transaction, task_id, token, state="PENDING", due_at=now, dispatched_at=None)


async def release_expired(transaction: Transaction, now: float, limit: int = 500) -> list[TaskRow]:
    """Makes tasks whose holders died wait again; returns them."""
    dead = (
        select(tasks.c.id)
        .where(tasks.c.state == "STARTED", tasks.c.lease_expires_at < now)
        .limit(limit)
        .scalar_subquery()
    )
    statement = (
        update(tasks)
        .where(tasks.c.id.in_(dead), tasks.c.state == "STARTED", tasks.c.lease_expires_at < now)
        .values(
            state="PENDING",
            losses=tasks.c.losses + 1,
            lease_token=None,
            lease_expires_at=None,
            due_at=now,
            dispatched_at=None,
        )
        .returning(tasks)
    )
    return [_row(found) for found in (await transaction.execute(statement)).mappings()]


async def fail_waiting(transaction: Transaction, task_id: str, error: TaskError, now: float) -> bool:
    """Dead-letters a task that nobody holds."""
    statement = (
        update(tasks)
        .where(tasks.c.id == task_id, tasks.c.state.in_(WAITING))
        .values(state="FAILURE", error=msgspec.to_builtins(error), finished_at=now)
    )
    return _changed(await transaction.execute(statement))


async def end(
    transaction: Transaction, task_id: str, state: Literal["FAILURE", "REVOKED"], error: TaskError | None, now: float
) -> TaskRow | None:
    """Ends a task whoever holds it, whose outcome is refused from now on. None when it had finished, or is unknown."""
    statement = (
        update(tasks)
        .where(tasks.c.id == task_id, tasks.c.state.not_in(FINISHED))
        .values(
            state=state,
            error=msgspec.to_builtins(error),
            finished_at=now,
            lease_token=None,
            lease_expires_at=None,
        )
        .returning(tasks)
    )
    found = (await transaction.execute(statement)).mappings().one_or_none()
    return None if found is None else _row(found)


async def overdue(
    connection: Transaction, queue: str, *, gone_before: float, now: float, patience_seconds: float, limit: int = 500
) -> list[TaskRow]:
    """Tasks that wait for a message the queue no longer holds, the longest waiting first.

    Their last message was sent, or was to be run, before `gone_before`, and longer ago than `patience_seconds`, which
    double with each message that was sent in vain.
    """
    sent_at = case((tasks.c.dispatched_at > tasks.c.due_at, tasks.c.dispatched_at), else_=tasks.c.due_at)
    doublings = {dispatches: patience_seconds * 2.0**dispatches for dispatches in range(SLOWEST_DOUBLING)}
    patience = case(doublings, value=tasks.c.dispatches, else_=patience_seconds * 2.0**SLOWEST_DOUBLING)
    query = (
        select(tasks)
        .where(tasks.c.queue == queue, tasks.c.state.in_(WAITING))
        .where(tasks.c.due_at < min(now, gone_before), sent_at < gone_before, sent_at + patience < now)
        .order_by(tasks.c.due_at)
        .limit(limit)
    )
    return [_row(found) for found in (await connection.execute(query)).mappings()]


async def mark_dispatched(transaction: Transaction, task_ids: Sequence[str], now: float) -> None:
    """Notes that messages for these tasks were sent at `now`."""
    statement = (
        update(tasks).where(tasks.c.id.in_(task_ids)).values(dispatched_at=now, dispatches=tasks.c.dispatches + 1)
    )
    await transaction.execute(statement)


async def known(connection: Transaction, task_ids: Sequence[str]) -> dict[str, State]:
    """The states of those of `task_ids` that exist."""
    states: dict[str, State] = {}
    for start in range(0, len(task_ids), MOST_IDS):
        query = select(tasks.c.id, tasks.c.state).where(tasks.c.id.in_(task_ids[start : start + MOST_IDS]))
        states |= {row.id: row.state for row in await connection.execute(query)}
    return states


async def _settle(transaction: Transaction, task_id: str, token: str, **values: Any) -> bool:
    statement = (
        update(tasks)
        .where(tasks.c.id == task_id, tasks.c.lease_token == token, tasks.c.state == "STARTED")
        .values(lease_token=None, lease_expires_at=None, **values)
    )
    return _changed(await transaction.execute(statement))


def _changed(result: CursorResult[Any]) -> bool:
    return result.rowcount == 1


def _row(found: RowMapping) -> TaskRow:
    return as_struct(found, TaskRow)
