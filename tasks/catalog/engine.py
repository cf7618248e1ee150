"""Opens the catalog's database and gives transactions on it, on SQLite and PostgreSQL alike.

On SQLite: WAL, synchronous FULL (a commit is on disk when it returns), short `BEGIN IMMEDIATE` writes that queue up in
the process instead of spinning on the file's lock, and reads that never wait for a writer.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import Connection, event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from tasks.errors import CatalogUnavailable, DiskFull

BUSY_TIMEOUT_SECONDS = 5.0
Transaction = AsyncConnection
"""An open transaction: what a function that writes takes, so that its caller decides what commits together."""


class Catalog:
    """One process's connections to the catalog."""

    def __init__(self, database_url: str, busy_timeout_seconds: float = BUSY_TIMEOUT_SECONDS) -> None:
        """`busy_timeout_seconds` is how long a lock, or a free connection, is waited for."""
        self.is_sqlite = database_url.startswith("sqlite")
        engine = _sqlite_engine if self.is_sqlite else _server_engine
        self._engine = engine(database_url, busy_timeout_seconds)
        self._reader = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        self._writing = asyncio.Lock()

    @asynccontextmanager
    async def write(self) -> AsyncIterator[Transaction]:
        """A transaction that commits when the block ends and rolls back when it raises.

        Raises CatalogUnavailable when the database cannot be reached or stays locked, and DiskFull.
        """
        if self.is_sqlite:
            async with self._writing, _translated(), self._engine.begin() as transaction:
                yield transaction
        else:
            async with _translated(), self._engine.begin() as transaction:
                yield transaction

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Transaction]:
        """A connection for single reads. Raises CatalogUnavailable."""
        async with _translated(), self._reader.connect() as connection:
            yield connection

    async def check(self) -> None:
        """Proves that the database answers from its own tables. Raises CatalogUnavailable."""
        async with self.read() as connection:
            await connection.execute(text("SELECT version_num FROM alembic_version"))  # a mere 1 needs no file

    async def close(self) -> None:
        """Closes every connection."""
        await self._engine.dispose()


def _server_engine(database_url: str, timeout_seconds: float) -> AsyncEngine:
    return create_async_engine(database_url, pool_size=10, pool_timeout=timeout_seconds, pool_pre_ping=True)


def _sqlite_engine(database_url: str, timeout_seconds: float) -> AsyncEngine:
    engine = create_async_engine(
        database_url, pool_size=8, pool_timeout=timeout_seconds, connect_args={"timeout": timeout_seconds}
    )
    event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    event.listen(engine.sync_engine, "begin", _begin_immediate)
    return engine


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # BEGIN is ours to say, see _begin_immediate
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_immediate(connection: Connection) -> None:
    if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
        connection.exec_driver_sql("BEGIN IMMEDIATE")


@asynccontextmanager
async def _translated() -> AsyncIterator[None]:
    try:
        yield
    except DBAPIError as error:
        if getattr(error.orig, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            raise DiskFull from error
        if error.connection_invalidated or not _is_programming(error):
            raise CatalogUnavailable(type(error.orig).__name__) from error
        raise
    except (PoolTimeout, OSError) as error:
        raise CatalogUnavailable(type(error).__name__) from error


def _is_programming(error: DBAPIError) -> bool:
    """Whether the statement itself was at fault, so that the database being there or not is not the question."""
    return type(error).__name__ in {"IntegrityError", "ProgrammingError", "DataError", "NotSupportedError"}
