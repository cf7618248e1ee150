"""Rows of `uploads`: an owner's reference to content, under the name and type it was sent with."""

from __future__ import annotations

import msgspec
from sqlalchemy import insert, select, update

from tasks.catalog.engine import Transaction
from tasks.catalog.schema import uploads


class UploadRow(msgspec.Struct, frozen=True, kw_only=True):
    """One upload. Its id is its task's."""

    task_id: str
    owner: str
    filename: str
    content_type: str
    size_bytes: int
    profile: str
    cid: str | None = None
    created_at: float


async def add(transaction: Transaction, row: UploadRow) -> None:
    """Accepts an upload."""
    await transaction.execute(insert(uploads).values(msgspec.to_builtins(row)))


async def set_cid(transaction: Transaction, task_id: str, cid: str) -> None:
    """Notes what an upload became."""
    await transaction.execute(update(uploads).where(uploads.c.task_id == task_id).values(cid=cid))


async def content_type_of(connection: Transaction, owner: str, cid: str) -> str | None:
    """The type under which this owner last uploaded this content."""
    query = (
        select(uploads.c.content_type)
        .where(uploads.c.owner == owner, uploads.c.cid == cid)
        .order_by(uploads.c.created_at.desc())
        .limit(1)
    )
    return (await connection.execute(query)).scalar_one_or_none()
