from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from tasks.catalog import migrate
from tasks.catalog import tasks as rows
from tasks.catalog.engine import Catalog
from tasks.catalog.tasks import TaskRow
from tasks.errors import CatalogUnavailable, DiskFull
from tasks.settings import TaskSettings

LOCK_THE_FILE = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "catalog.sqlite"


@pytest.fixture
async def hurried(file: Path) -> AsyncIterator[Catalog]:
    """A SQLite catalog that waits a tenth of a second for a lock."""
    opened = Catalog(f"sqlite+aiosqlite:///{file}", busy_timeout_seconds=0.1)
    await migrate.upgrade(opened)
    yield opened
    await opened.close()


@contextmanager
def locked_by_another_process(file: Path) -> Iterator[None]:
    with subprocess.Popen(
        [sys.executable, "-c", LOCK_THE_FILE, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        yield
        other.communicate()


async def scalar(catalog: Catalog, statement: str) -> object:
    async with catalog.read() as connection:
        return (await connection.execute(text(statement))).scalar()


async def test_a_commit_on_sqlite_is_on_disk_when_it_returns(hurried: Catalog) -> None:
    assert await scalar(hurried, "PRAGMA journal_mode") == "wal"
    assert await scalar(hurried, "PRAGMA synchronous") == 2, "FULL"
    async with hurried.write() as transaction:
        assert (await transaction.execute(text("PRAGMA synchronous"))).scalar() == 2
        assert (await transaction.execute(text("PRAGMA foreign_keys"))).scalar() == 1


async def test_a_block_that_raises_leaves_nothing_behind(catalog: Catalog, new_row: Callable[..., TaskRow]) -> None:
    row = new_row()
    with pytest.raises(ZeroDivisionError):
        async with catalog.write() as transaction:
            await rows.add(transaction, row)
            raise ZeroDivisionError
    async with catalog.read() as connection:
        assert await rows.get(connection, row.id) is None


async def test_a_cancelled_write_leaves_nothing_behind_and_nothing_locked(
    catalog: Catalog, new_row: Callable[..., TaskRow]
) -> None:
    row, written = new_row(), asyncio.Event()

    async def write_and_wait() -> None:
        async with catalog.write() as transaction:
            await rows.add(transaction, row)
            written.set()
            await asyncio.Event().wait()

    writing = asyncio.create_task(write_and_wait())
    await written.wait()
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    async with catalog.write() as transaction:
        await rows.add(transaction, row)


async def test_a_reader_does_not_wait_for_a_writer_and_sees_what_was_committed(
    catalog: Catalog, new_row: Callable[..., TaskRow]
) -> None:
    row = new_row()
    async with catalog.write() as transaction:
        await rows.add(transaction, row)
        async with catalog.read() as connection:
            assert await rows.get(connection, row.id) is None
    async with catalog.read() as connection:
        assert await rows.get(connection, row.id) == row


async def test_many_writers_of_one_process_take_turns_longer_than_the_deadline_of_a_lock(hurried: Catalog) -> None:
    async def write() -> None:
        async with hurried.write() as transaction:
            await transaction.execute(text("UPDATE tasks SET owner = owner"))

    await asyncio.gather(*(write() for _ in range(100)))


async def test_a_file_locked_by_another_process_past_the_deadline_is_said_to_be_unavailable(
    hurried: Catalog, file: Path
) -> None:
    with locked_by_another_process(file):
        assert await scalar(hurried, "SELECT count(*) FROM tasks") == 0, "reading goes on"
        with pytest.raises(CatalogUnavailable):
            async with hurried.write():
                pass
    async with hurried.write():
        pass


async def test_a_full_volume_is_said_to_be_full(hurried: Catalog, new_row: Callable[..., TaskRow]) -> None:
    with pytest.raises(DiskFull):
        async with hurried.write() as transaction:
            pages = (await transaction.execute(text("PRAGMA page_count"))).scalar_one()
            await transaction.execute(text(f"PRAGMA max_page_count = {pages}"))
            await rows.add(transaction, new_row(arguments={"filler": "x" * 100_000}))


async def test_a_file_that_is_no_database_is_said_to_be_unavailable(file: Path) -> None:
    file.write_bytes(b"not a database" * 1_000)
    broken = Catalog(f"sqlite+aiosqlite:///{file}", busy_timeout_seconds=0.1)
    with pytest.raises(CatalogUnavailable):
        await broken.check()
    await broken.close()


@pytest.mark.parametrize(
    "url",
    ["sqlite+aiosqlite:////nowhere/at/all.sqlite", "postgresql+asyncpg://nobody@127.0.0.1:1/nothing"],
)
async def test_a_database_that_is_not_there_is_said_to_be_unavailable(url: str) -> None:
    catalog = Catalog(url, busy_timeout_seconds=0.1)
    with pytest.raises(CatalogUnavailable):
        await catalog.check()
    with pytest.raises(CatalogUnavailable):
        async with catalog.write():
            pass
    await catalog.close()


async def test_a_statement_at_fault_is_no_outage(catalog: Catalog, new_row: Callable[..., TaskRow]) -> None:
    row = new_row()
    with pytest.raises(IntegrityError):
        async with catalog.write() as transaction:
            await rows.add(transaction, row)
            await rows.add(transaction, row)
    await catalog.check()


@pytest.mark.parametrize("name", ["plain", "with a space", "per%20cent", "what?", "hash#tag", "ümlaut"])
async def test_the_data_folder_may_be_called_anything(tmp_path: Path, name: str) -> None:
    data = tmp_path / name
    data.mkdir()
    catalog = Catalog(TaskSettings(data=data).effective_database_url)
    await migrate.upgrade(catalog)
    await catalog.close()
    with sqlite3.connect(data / "catalog.sqlite") as connection:
        assert connection.execute("SELECT count(*) FROM tasks").fetchone() == (0,)
    assert [path.name for path in tmp_path.iterdir()] == [name]
