"""Prepares a data folder for its first start: the catalog's tables and the owner's key."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from tasks.catalog import keys, migrate
from tasks.catalog.engine import Catalog
from tasks.catalog.keys import ALL_SCOPES
from tasks.clock import SystemClock
from tasks.settings import TaskSettings

KEY_FILE = "api-key"
OWNER = "owner"


async def prepare(data: Path, database_url: str = "") -> Path:
    """Migrates the catalog and makes sure of the owner's key; returns the file it is in (mode 0600).

    A file whose key the catalog does not know, or has revoked, gets a new key: the catalog decides.
    """
    catalog = Catalog(TaskSettings(data=data, database_url=database_url).effective_database_url)
    try:
        await migrate.upgrade(catalog)
        return await _ensure_owner_key(catalog, data / KEY_FILE)
    finally:
        await catalog.close()


async def _ensure_owner_key(catalog: Catalog, file: Path) -> Path:
    text = await asyncio.to_thread(_read, file)
    async with catalog.read() as connection:
        if text and await keys.find(connection, keys.hash_key(text)):
            return file
    text = keys.new_key()
    async with catalog.write() as transaction:
        await keys.add(transaction, text, OWNER, ALL_SCOPES, SystemClock().now())
    _write_secret(file, text + "\n")
    return file


def _read(file: Path) -> str:
    return file.read_text(errors="replace").strip() if file.exists() else ""


def _write_secret(file: Path, text: str) -> None:
    """Never there with a wider mode, nor half written."""
    new = file.with_suffix(".new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    new.replace(file)
