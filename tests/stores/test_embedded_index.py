"""The embedded store's index: made once by whoever comes first, and never read by a version that is too old for it."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from tasks.errors import StoreUnavailable
from tasks.settings import TaskSettings
from tasks.stores import factory
from tasks.stores.embedded.store import EmbeddedStore
from tasks.stores.memory import MemoryStore


async def test_many_can_open_a_new_store_at_the_same_moment(tmp_path: Path) -> None:
    stores = [EmbeddedStore(tmp_path / "store") for _ in range(12)]
    await asyncio.gather(*(store.open() for store in stores))
    for store in stores:
        await store.check()
        await store.close()


async def test_an_index_from_the_future_is_refused_with_a_reason(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path / "store")
    await store.open()
    await store.close()
    with sqlite3.connect(tmp_path / "store" / "index.sqlite") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreUnavailable, match="format 99, written by a newer version; this one reads up to 1"):
        await EmbeddedStore(tmp_path / "store").open()


async def test_a_file_that_is_no_index_is_refused_with_a_reason(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "index.sqlite").write_bytes(b"not a database" * 1000)
    with pytest.raises(StoreUnavailable, match="not a database"):
        await EmbeddedStore(tmp_path / "store").open()


async def test_commits_survive_power_loss_and_do_not_stop_readers(embedded: EmbeddedStore) -> None:
    with embedded._index._connections.lend() as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)


async def test_the_check_fails_when_the_folder_is_gone(embedded: EmbeddedStore, tmp_path: Path) -> None:
    (tmp_path / "store" / "files").rename(tmp_path / "elsewhere")
    with pytest.raises(StoreUnavailable, match="its folder is not there"):
        await embedded.check()


def test_the_settings_name_the_store(tmp_path: Path) -> None:
    assert isinstance(factory.create(TaskSettings(data=tmp_path)), EmbeddedStore)
    assert isinstance(factory.create(TaskSettings(data=tmp_path, store="memory")), MemoryStore)
