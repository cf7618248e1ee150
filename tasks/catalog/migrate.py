"""Brings the catalog's tables up to this version's shape. Run at every start; does nothing when there is nothing to do.

Processes that start together take turns: SQLite by its write lock, PostgreSQL by an advisory lock, both held until the
migration has committed.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text

from tasks.catalog.engine import Catalog

ADVISORY_LOCK = 0x6D6F6F7261676500
"""Any number that nobody else locks: "moorage" in ASCII."""


async def upgrade(catalog: Catalog, revision: str = "head") -> None:
    """Migrates up to `revision`. Raises CatalogUnavailable, and Alembic's CommandError for an unknown revision."""
    async with catalog.write() as transaction:
        await transaction.run_sync(_run, revision, command.upgrade)


async def downgrade(catalog: Catalog, revision: str) -> None:
    """Migrates down to `revision`; "base" removes every table."""
    async with catalog.write() as transaction:
        await transaction.run_sync(_run, revision, command.downgrade)


def configuration(connection: Connection | None = None) -> Config:
    """Alembic's view of this catalog: where the scripts are and which connection to use."""
    config = Config()
    folder = str(Path(__file__).parent / "migrations")
    config.set_main_option("script_location", folder.replace("%", "%%"))  # an option's value is a template
    config.attributes["connection"] = connection
    return config


def _run(connection: Connection, revision: str, step: object) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
    assert callable(step)
    step(configuration(connection), revision)
