"""When the disk has changed what the embedded store holds, it tells, and serves a good copy if it has one."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tasks.errors import BlockDamaged, BlockNotFound, StoreUnavailable
from tasks.stores.cid import CID, RAW
from tasks.stores.embedded.store import EmbeddedStore
from tasks.stores.multihash import sha2_256
from tasks.stores.protocol import AddedFile, Profile

Stage = Callable[[bytes], Path]
Read = Callable[..., Awaitable[bytes]]

MIB = 1 << 20
DATA = b"".join(number.to_bytes(8, "big") for number in range(400_000))  # four leaves, all different


def ignore(hashed_bytes: int) -> None:
    """A caller without interest in progress."""


def leaf_cid(number: int) -> CID:
    """Of a raw leaf of DATA."""
    return CID(1, RAW, sha2_256(hashlib.sha256(DATA[number * MIB : (number + 1) * MIB]).digest()))


@pytest.fixture
def kept(tmp_path: Path) -> Callable[[str], Path]:
    """Where the store keeps the file of a key, made writable."""

    def find(key: str) -> Path:
        (path,) = (tmp_path / "store" / "files").glob(f"*/{key}")
        path.chmod(0o600)
        return path

    return find


def flip(path: Path, offset: int) -> None:
    """Changes one bit, as an old disk would."""
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1]))


Kept = Callable[[str], Path]


@pytest.fixture
async def added(embedded: EmbeddedStore, stage: Stage) -> AddedFile:
    return await embedded.add_file(stage(DATA), "key", "unixfs-v1-2025", ignore)


async def test_a_flipped_bit_is_damage_and_never_content(
    embedded: EmbeddedStore, added: AddedFile, read: Read, kept: Kept
) -> None:
    flip(kept("key"), MIB + 5)
    got = b""
    with pytest.raises(BlockDamaged) as caught:
        async for piece in embedded.read_file(added.cid, 0, len(DATA)):
            got += piece
    assert got == DATA[:MIB]
    assert caught.value.cid == str(leaf_cid(1))
    with pytest.raises(BlockDamaged):
        await embedded.read_block(leaf_cid(1))
    assert await read(embedded, added.cid, 2 * MIB, len(DATA)) == DATA[2 * MIB :]


@pytest.mark.parametrize("profile", ["unixfs-v1-2025", "unixfs-v0-2015"])
async def test_a_truncated_file_is_damage_from_there_on(
    embedded: EmbeddedStore, stage: Stage, read: Read, kept: Kept, profile: Profile
) -> None:
    cid = (await embedded.add_file(stage(DATA), "key", profile, ignore)).cid
    with kept("key").open("r+b") as file:
        file.truncate(2 * MIB)
    assert await read(embedded, cid, 0, 2 * MIB) == DATA[: 2 * MIB]
    with pytest.raises(BlockDamaged):
        await read(embedded, cid, 2 * MIB - 1, 2 * MIB + 1)


async def test_a_lost_file_is_damage_not_absence(
    embedded: EmbeddedStore, added: AddedFile, read: Read, kept: Kept
) -> None:
    kept("key").unlink()
    with pytest.raises(BlockDamaged):
        await read(embedded, added.cid)
    assert (await embedded.stat(added.cid)).size_bytes == len(DATA)


async def test_a_folder_that_is_away_is_neither_damage_nor_a_lost_upload(
    embedded: EmbeddedStore, added: AddedFile, stage: Stage, read: Read, tmp_path: Path
) -> None:
    files, away = tmp_path / "store" / "files", tmp_path / "away"
    staged = stage(b"accepted meanwhile")
    files.rename(away)
    for ask in (read(embedded, added.cid), embedded.add_file(staged, "meanwhile", "unixfs-v1-2025", ignore)):
        with pytest.raises(StoreUnavailable, match="its folder is not there"):
            await ask
    away.rename(files)
    assert await read(embedded, added.cid) == DATA
    later = await embedded.add_file(staged, "meanwhile", "unixfs-v1-2025", ignore)
    assert await read(embedded, later.cid) == b"accepted meanwhile"


async def test_a_damaged_inner_node_is_told(embedded: EmbeddedStore, added: AddedFile, read: Read) -> None:
    with embedded._index._connections.transaction() as connection:
        connection.execute("UPDATE inner_nodes SET block = zeroblob(length(block))")
    for ask in (embedded.stat(added.cid), embedded.read_block(added.cid), read(embedded, added.cid)):
        with pytest.raises(BlockDamaged) as caught:
            await ask
        assert caught.value.cid == str(added.cid)


async def test_a_damaged_small_file_is_told_by_its_size_too(embedded: EmbeddedStore, stage: Stage, kept: Kept) -> None:
    cid = (await embedded.add_file(stage(b"small"), "small", "unixfs-v1-2025", ignore)).cid
    flip(kept("small"), 0)
    with pytest.raises(BlockDamaged):
        await embedded.stat(cid)


@pytest.mark.parametrize("harm", ["flip", "truncate", "remove"])
async def test_the_same_upload_again_heals_a_damaged_file(
    embedded: EmbeddedStore, added: AddedFile, stage: Stage, read: Read, kept: Kept, harm: str
) -> None:
    path = kept("key")
    if harm == "flip":
        flip(path, 5)
    elif harm == "truncate":
        path.write_bytes(b"")
    else:
        path.unlink()
    assert await embedded.add_file(stage(DATA), "again", "unixfs-v1-2025", ignore) == added
    assert await read(embedded, added.cid) == DATA
    assert kept("again").read_bytes() == DATA


async def test_a_block_that_two_files_share_is_read_from_whichever_is_whole(
    embedded: EmbeddedStore, stage: Stage, read: Read, kept: Kept
) -> None:
    shared, one, two = (bytes([number]) * MIB for number in (1, 2, 3))
    first = await embedded.add_file(stage(shared + one), "first", "unixfs-v1-2025", ignore)
    second = await embedded.add_file(stage(two + shared), "second", "unixfs-v1-2025", ignore)
    flip(kept("first"), 0)
    assert await read(embedded, first.cid) == shared + one
    flip(kept("first"), 0)
    kept("second").unlink()
    assert await read(embedded, first.cid) == shared + one
    assert await read(embedded, second.cid, MIB, 2 * MIB) == shared


async def test_damage_to_one_of_equal_leaves_in_a_file_is_covered_by_the_others(
    embedded: EmbeddedStore, stage: Stage, read: Read, kept: Kept
) -> None:
    data = b"same" * (MIB // 4) * 3
    cid = (await embedded.add_file(stage(data), "key", "unixfs-v1-2025", ignore)).cid
    flip(kept("key"), 0)
    flip(kept("key"), 2 * MIB)
    assert await read(embedded, cid) == data


async def test_discarded_blocks_are_absent_not_damaged(embedded: EmbeddedStore, added: AddedFile) -> None:
    with embedded._index._connections.transaction() as connection:
        connection.execute("DELETE FROM additions")
    assert await embedded.discard("key")
    with pytest.raises(BlockNotFound):
        await embedded.stat(added.cid)
