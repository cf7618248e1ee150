from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.catalog import tasks as rows
from tasks.catalog.tasks import State, TaskRow
from tasks.parts import Parts
from tasks.sweep import sweep_files

NewRow = Callable[..., TaskRow]


async def seal(parts: Parts, task_id: str) -> Path:
    staged = await parts.staging.create(task_id)
    await staged.write([b"bytes"])
    await staged.seal()
    await staged.close()
    return parts.staging.sealed_path(task_id)


@pytest.mark.parametrize(
    ("state", "is_kept"),
    [("PENDING", True), ("STARTED", True), ("RETRY", True), ("FAILURE", True), ("REVOKED", False), ("SUCCESS", False)],
)
async def test_bytes_are_kept_for_as_long_as_somebody_may_come_back_for_them(
    parts: Parts, new_row: NewRow, state: State, is_kept: bool
) -> None:
    row = new_row(state=state)
    async with parts.catalog.write() as transaction:
        await rows.add(transaction, row)
    file = await seal(parts, row.id)
    assert await sweep_files(parts) == ([] if is_kept else [file.name])
    assert file.exists() == is_kept


async def test_bytes_nobody_accepted_are_swept(parts: Parts) -> None:
    file = await seal(parts, "no-row")
    assert await sweep_files(parts) == [file.name]
    assert await sweep_files(parts) == []
