"""A data folder's first start, and every one after: there is always an owner's key, private and valid."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from service.bootstrap import KEY_FILE, OWNER, prepare
from tasks.catalog import keys
from tasks.catalog.engine import Catalog
from tasks.catalog.keys import ALL_SCOPES, KeyRow
from tasks.settings import TaskSettings


async def rows_of(data: Path) -> list[KeyRow]:
    catalog = Catalog(TaskSettings(data=data).effective_database_url)
    try:
        async with catalog.read() as connection:
            return await keys.everything(connection)
    finally:
        await catalog.close()


async def test_the_first_start_makes_a_private_key_of_the_owner(tmp_path: Path) -> None:
    os.umask(os.umask(0))
    file = await prepare(tmp_path)
    assert file == tmp_path / KEY_FILE
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    [row] = await rows_of(tmp_path)
    assert (row.owner, row.scopes) == (OWNER, ALL_SCOPES)
    assert row.key_hash == keys.hash_key(file.read_text().strip())
    assert sorted(path.name for path in tmp_path.iterdir() if "key" in path.name) == [KEY_FILE]


async def test_later_starts_keep_it(tmp_path: Path) -> None:
    text = (await prepare(tmp_path)).read_text()
    assert (await prepare(tmp_path)).read_text() == text
    assert len(await rows_of(tmp_path)) == 1


@pytest.mark.parametrize("found", [b"", b"ipfs_gw_not-ours\n", b"\xff\xfe\x00", b"x" * 100_000])
async def test_a_file_without_a_valid_key_gets_one(tmp_path: Path, found: bytes) -> None:
    (tmp_path / KEY_FILE).write_bytes(found)
    (tmp_path / KEY_FILE).chmod(0o644)
    file = await prepare(tmp_path)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert (await rows_of(tmp_path))[-1].key_hash == keys.hash_key(file.read_text().strip())


async def test_a_revoked_key_is_replaced(tmp_path: Path) -> None:
    old = (await prepare(tmp_path)).read_text()
    [row] = await rows_of(tmp_path)
    catalog = Catalog(TaskSettings(data=tmp_path).effective_database_url)
    async with catalog.write() as transaction:
        await keys.revoke(transaction, row.id, 1.0)
    await catalog.close()
    assert (await prepare(tmp_path)).read_text() != old


async def test_what_a_crash_left_half_written_is_no_hindrance(tmp_path: Path) -> None:
    (tmp_path / "api-key.new").write_text("half")
    file = await prepare(tmp_path)
    assert file.read_text().startswith(keys.KEY_PREFIX)
    assert not (tmp_path / "api-key.new").exists()
