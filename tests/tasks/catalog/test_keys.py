from __future__ import annotations

import pytest
from sqlalchemy.exc import IntegrityError

from tasks.catalog import keys
from tasks.catalog.engine import Catalog


async def add(catalog: Catalog, text: str, owner: str = "ann", now: float = 1.0) -> keys.KeyRow:
    async with catalog.write() as transaction:
        return await keys.add(transaction, text, owner, ("upload", "read"), now)


def test_no_two_keys_are_alike_and_each_holds_256_bits() -> None:
    made = {keys.new_key() for _ in range(1_000)}
    assert len(made) == 1_000
    assert {len(key) for key in made} == {len(keys.KEY_PREFIX) + 43}
    assert all(key.startswith("ipfs_gw_") for key in made)


async def test_a_key_is_found_by_its_hash_and_only_its_hash_is_stored(catalog: Catalog) -> None:
    text = keys.new_key()
    row = await add(catalog, text)
    async with catalog.read() as connection:
        assert await keys.find(connection, keys.hash_key(text)) == row
        assert await keys.find(connection, keys.hash_key(text + "x")) is None
    assert text.encode() not in row.key_hash
    assert len(row.key_hash) == 32


async def test_a_revoked_key_is_found_no_more(catalog: Catalog) -> None:
    text = keys.new_key()
    row = await add(catalog, text)
    async with catalog.write() as transaction:
        assert await keys.revoke(transaction, row.id, 5.0)
    async with catalog.write() as transaction:
        assert not await keys.revoke(transaction, row.id, 6.0), "it has ended before"
        assert not await keys.revoke(transaction, "no such id", 6.0)
    async with catalog.read() as connection:
        assert await keys.find(connection, keys.hash_key(text)) is None
        assert [key.revoked_at for key in await keys.everything(connection)] == [5.0]


async def test_all_keys_are_listed_the_oldest_first(catalog: Catalog) -> None:
    for second in (3.0, 1.0, 2.0):
        await add(catalog, keys.new_key(), now=second)
    async with catalog.read() as connection:
        assert [key.created_at for key in await keys.everything(connection)] == [1.0, 2.0, 3.0]


async def test_the_same_text_is_no_second_key(catalog: Catalog) -> None:
    text = keys.new_key()
    await add(catalog, text)
    with pytest.raises(IntegrityError):
        await add(catalog, text, "bob")
