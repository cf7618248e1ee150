from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy.exc import IntegrityError

from tasks.catalog import tasks as rows
from tasks.catalog import uploads
from tasks.catalog.engine import Catalog
from tasks.catalog.tasks import TaskRow
from tasks.catalog.uploads import UploadRow

NewRow = Callable[..., TaskRow]


async def accept(catalog: Catalog, task: TaskRow, content_type: str = "text/plain", cid: str | None = None) -> None:
    upload = UploadRow(
        task_id=task.id,
        owner=task.owner,
        filename="a.txt",
        content_type=content_type,
        size_bytes=2**40,
        profile="unixfs-v1-2025",
        created_at=task.created_at,
    )
    async with catalog.write() as transaction:
        await rows.add(transaction, task)
        await uploads.add(transaction, upload)
        if cid is not None:
            await uploads.set_cid(transaction, task.id, cid)


async def test_content_has_the_type_its_owner_last_gave_it(catalog: Catalog, new_row: NewRow) -> None:
    await accept(catalog, new_row(created_at=1.0), "text/plain", "bafy-a")
    await accept(catalog, new_row(created_at=2.0), "text/html", "bafy-a")
    await accept(catalog, new_row(created_at=3.0), "image/png", "bafy-b")
    await accept(catalog, new_row(created_at=4.0, owner="bob"), "video/mp4", "bafy-a")
    await accept(catalog, new_row(created_at=5.0), "text/css")
    async with catalog.read() as connection:
        assert await uploads.content_type_of(connection, "ann", "bafy-a") == "text/html"
        assert await uploads.content_type_of(connection, "bob", "bafy-a") == "video/mp4"
        assert await uploads.content_type_of(connection, "bob", "bafy-b") is None


async def test_an_upload_belongs_to_a_task_that_exists(catalog: Catalog) -> None:
    orphan = UploadRow(
        task_id="no such task",
        owner="ann",
        filename="a.txt",
        content_type="text/plain",
        size_bytes=1,
        profile="unixfs-v1-2025",
        created_at=1.0,
    )
    with pytest.raises(IntegrityError):
        async with catalog.write() as transaction:
            await uploads.add(transaction, orphan)
