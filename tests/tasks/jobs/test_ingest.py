from __future__ import annotations

import pytest
from celery.exceptions import Retry

from tasks.catalog import uploads
from tasks.catalog.tasks import TaskRow
from tasks.errors import StagedFileMissing
from tasks.jobs.ingest import ingest
from tasks.parts import Parts
from tasks.stores.cid import CID
from tests.tasks.real_worker import accept_upload
from tests.tasks.running import record_of, row_of, run

HELLO_CID = "bafkreibm6jg3ux5qumhcn2b3flc3tyu6dmlb4xa7u5bf44yegnrjhc4yeq"


async def ingested(parts: Parts, row: TaskRow) -> str:
    result = await run(parts, ingest, row.id, **row.arguments)
    return str(result["cid"])


async def test_a_staged_upload_is_known_by_its_cid_from_the_moment_it_is_success(parts: Parts) -> None:
    row = await accept_upload(parts, b"hello")
    assert await ingested(parts, row) == HELLO_CID
    assert not parts.staging.sealed_path(row.id).exists()
    assert (await record_of(parts, row.id)).state == "SUCCESS"
    async with parts.catalog.read() as connection:
        assert await uploads.content_type_of(connection, "ann", HELLO_CID) == "text/plain"
    pieces = [piece async for piece in parts.store.read_file(CID.parse(HELLO_CID), 0, 5)]
    assert b"".join(pieces) == b"hello"


async def test_the_same_bytes_twice_are_the_same_content_and_two_uploads(parts: Parts) -> None:
    first, second = await accept_upload(parts, b"hello"), await accept_upload(parts, b"hello")
    assert await ingested(parts, first) == await ingested(parts, second) == HELLO_CID
    assert (await row_of(parts, first.id)).state == (await row_of(parts, second.id)).state == "SUCCESS"


async def test_an_ingest_that_was_cut_off_after_the_store_had_it_comes_to_the_same_end(parts: Parts) -> None:
    row = await accept_upload(parts, b"hello")
    added = await parts.store.add_file(parts.staging.sealed_path(row.id), row.id, "unixfs-v1-2025", lambda _: None)
    assert await ingested(parts, row) == str(added.cid) == HELLO_CID


async def test_an_empty_file_is_content_too(parts: Parts) -> None:
    row = await accept_upload(parts, b"")
    await run(parts, ingest, row.id, **row.arguments)
    assert (await row_of(parts, row.id)).result["size_bytes"] == 0


async def test_bytes_that_are_gone_are_a_dead_letter_at_once(parts: Parts) -> None:
    row = await accept_upload(parts)
    parts.staging.sealed_path(row.id).unlink()
    with pytest.raises(StagedFileMissing):
        await run(parts, ingest, row.id, **row.arguments)
    dead = await row_of(parts, row.id)
    assert dead.error is not None
    assert (dead.state, dead.error.type) == ("FAILURE", "StagedFileMissing")


async def test_a_failing_store_leaves_the_bytes_for_the_next_try(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    row = await accept_upload(parts, b"hello")

    async def break_down(*_: object) -> None:
        raise OSError("the volume went away")

    with monkeypatch.context() as broken:
        broken.setattr(type(parts.store), "add_file", break_down)
        with pytest.raises(Retry):
            await run(parts, ingest, row.id, **row.arguments)
    assert parts.staging.sealed_path(row.id).read_bytes() == b"hello"
    assert (await row_of(parts, row.id)).state == "RETRY"
