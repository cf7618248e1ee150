from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, inspect

from tasks.catalog import migrate
from tasks.catalog.engine import Catalog
from tasks.catalog.schema import metadata

MIGRATE = """
import asyncio, sys
from tasks.catalog import migrate
from tasks.catalog.engine import Catalog

async def main():
    catalog = Catalog(sys.argv[1])
    print("ready", flush=True)
    sys.stdin.readline()
    await migrate.upgrade(catalog)
    await catalog.close()

asyncio.run(main())
"""


def differences(connection: Connection) -> list[object]:
    context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
    return list(compare_metadata(context, metadata))


def table_names(connection: Connection) -> set[str]:
    return set(inspect(connection).get_table_names()) - {"alembic_version"}


async def test_the_migrations_end_in_the_shape_that_the_code_declares(catalog: Catalog) -> None:
    async with catalog.write() as transaction:
        assert await transaction.run_sync(differences) == []


async def test_every_migration_can_be_taken_back_and_done_again(catalog: Catalog) -> None:
    revisions = ScriptDirectory.from_config(migrate.configuration()).walk_revisions()
    for revision in revisions:
        await migrate.downgrade(catalog, revision.down_revision or "base")  # type: ignore[arg-type]
    async with catalog.write() as transaction:
        assert await transaction.run_sync(table_names) == set()
    await migrate.upgrade(catalog)
    async with catalog.write() as transaction:
        assert await transaction.run_sync(differences) == []


async def test_migrating_again_changes_nothing(catalog: Catalog) -> None:
    await migrate.upgrade(catalog)
    async with catalog.write() as transaction:
        assert await transaction.run_sync(table_names) == set(metadata.tables)


async def test_an_unknown_revision_is_refused(catalog: Catalog) -> None:
    with pytest.raises(CommandError):
        await migrate.upgrade(catalog, "no-such-revision")


async def test_processes_that_start_together_take_turns(database_url: str) -> None:
    command = [sys.executable, "-c", MIGRATE, database_url]
    together = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(2)]
    for process in together:
        assert process.stdout is not None
        assert await asyncio.to_thread(process.stdout.readline) == b"ready\n"
    for process in together:
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
    outcomes = await asyncio.gather(*(asyncio.to_thread(process.communicate, timeout=60) for process in together))
    assert [process.returncode for process in together] == [0, 0], outcomes
    catalog = Catalog(database_url)
    async with catalog.write() as transaction:
        assert await transaction.run_sync(differences) == []
    await catalog.close()
