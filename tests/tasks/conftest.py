"""Parts the tests of the work share: catalogs on every database there is, and rows to put into them."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from tasks.catalog import migrate
from tasks.catalog.engine import Catalog
from tasks.catalog.tasks import TaskRow
from tasks.staging import Staging
from tests.tasks.real_postgres import RealPostgres, binaries

URL_VARIABLE = "TEST_DATABASE_URL"
"""Address of a PostgreSQL database that may be emptied; without it a server is started, if one is installed."""

NewRow = Callable[..., TaskRow]


@pytest.fixture
def new_row() -> NewRow:
    """Makes a row that waits since second 100, with whatever is to be different."""

    def make(**different: Any) -> TaskRow:
        usual: dict[str, Any] = {"id": str(uuid.uuid4()), "owner": "ann", "actor": "ingest", "queue": "upload"}
        usual |= {"arguments": {}, "due_at": 100.0, "created_at": 100.0}
        return TaskRow(**usual | different)

    return make


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A PostgreSQL database that may be emptied. Skips, with the reason, when none can be had."""
    if given := os.environ.get(URL_VARIABLE):
        yield given
        return
    folder = binaries()
    if folder is None:
        pytest.skip(f"PostgreSQL is not installed here, and {URL_VARIABLE} names none")
    server = RealPostgres(folder)
    server.start()
    yield server.url("postgres")
    server.remove()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path / 'catalog.sqlite'}"
    url: str = request.getfixturevalue("postgres_url")
    asyncio.run(_empty(url))
    return url


@pytest.fixture
async def catalog(database_url: str) -> AsyncIterator[Catalog]:
    """A migrated catalog on each kind of database."""
    opened = Catalog(database_url)
    await migrate.upgrade(opened)
    yield opened
    await opened.close()


@pytest.fixture
async def staging(tmp_path: Path) -> Staging:
    """An empty staging folder."""
    opened = Staging(tmp_path / "staging")
    await opened.open()
    return opened


async def _empty(url: str) -> None:
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        await connection.execute(text("DROP SCHEMA public CASCADE"))
        await connection.execute(text("CREATE SCHEMA public"))
    await engine.dispose()
