"""What every content store must do. A new store is done when this passes with it in the `store` fixture."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.errors import BlockNotFound, StagedFileMissing, UnsupportedCID
from tasks.stores.cid import CID, DAG_PB, RAW
from tasks.stores.memory import MemoryStore
from tasks.stores.multihash import sha2_256
from tasks.stores.protocol import ContentStore, Profile
from tasks.stores.unixfs import Shape

Stage = Callable[[bytes], Path]
Read = Callable[..., Awaitable[bytes]]

PROFILES: list[Profile] = ["unixfs-v1-2025", "unixfs-v0-2015"]
each_profile = pytest.mark.parametrize("profile", PROFILES)


def ignore(hashed_bytes: int) -> None:
    """A caller without interest in progress."""


def cid_of(data: bytes) -> CID:
    return CID(1, RAW, sha2_256(hashlib.sha256(data).digest()))


@each_profile
@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 15, 16, 17, 24, 48, 49, 143, 144, 145, 1000])
async def test_a_file_comes_back_as_it_went_in(
    store: ContentStore, stage: Stage, read: Read, profile: Profile, size: int
) -> None:
    data = bytes(number % 251 for number in range(size))
    staged = stage(data)
    added = await store.add_file(staged, "key", profile, ignore)
    assert added.size_bytes == size
    assert (await store.stat(added.cid)).size_bytes == size
    assert await read(store, added.cid) == data
    assert not staged.exists()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(data=st.data())
def test_any_range_is_the_slice_of_the_file(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory, read: Read
) -> None:
    shape = Shape(
        chunk_size_bytes=data.draw(st.integers(1, 20)),
        links_per_node=data.draw(st.integers(2, 5)),
        raw_leaves=data.draw(st.booleans()),
        cid_version=1,
    )
    content = data.draw(st.binary(max_size=300))
    start, stop = data.draw(st.integers(0, 310)), data.draw(st.integers(0, 310))

    async def scenario() -> bytes:
        store = MemoryStore({"unixfs-v1-2025": shape})
        staged = tmp_path_factory.getbasetemp() / "staged"
        staged.write_bytes(content)
        added = await store.add_file(staged, "key", "unixfs-v1-2025", ignore)
        return await read(store, added.cid, start, stop)

    assert asyncio.run(scenario()) == content[start:stop]


@each_profile
async def test_every_range_of_a_file_is_right(store: ContentStore, stage: Stage, read: Read, profile: Profile) -> None:
    data = bytes(range(100))
    cid = (await store.add_file(stage(data), "key", profile, ignore)).cid
    for start in range(0, 101, 3):
        for stop in (start, start + 1, start + 8, start + 17, 99, 100, 1000):
            assert await read(store, cid, start, stop) == data[start:stop]


@each_profile
async def test_the_same_key_gets_the_same_answer_for_ever(store: ContentStore, stage: Stage, profile: Profile) -> None:
    staged = stage(b"content")
    first = await store.add_file(staged, "key", profile, ignore)
    assert await store.add_file(staged, "key", profile, ignore) == first


async def test_the_same_content_gets_the_same_cid_under_any_key(store: ContentStore, stage: Stage, read: Read) -> None:
    one = await store.add_file(stage(b"content" * 30), "one", "unixfs-v1-2025", ignore)
    two = await store.add_file(stage(b"content" * 30), "two", "unixfs-v1-2025", ignore)
    assert one == two
    assert await read(store, one.cid) == b"content" * 30


async def test_progress_rises_to_the_size(store: ContentStore, stage: Stage) -> None:
    seen: list[int] = []
    await store.add_file(stage(bytes(5000)), "key", "unixfs-v1-2025", seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 5000


async def test_a_key_without_bytes_is_told(store: ContentStore, tmp_path: Path) -> None:
    with pytest.raises(StagedFileMissing) as caught:
        await store.add_file(tmp_path / "nowhere", "key", "unixfs-v1-2025", ignore)
    assert caught.value.key == "key"


async def test_a_block_is_the_slice_that_its_hash_names(store: ContentStore, stage: Stage) -> None:
    await store.add_file(stage(bytes(range(40))), "key", "unixfs-v1-2025", ignore)
    leaf = bytes(range(16, 32))
    assert await store.read_block(cid_of(leaf)) == leaf


async def test_a_block_has_the_same_bytes_under_any_codec(store: ContentStore, stage: Stage) -> None:
    added = await store.add_file(stage(bytes(40)), "key", "unixfs-v1-2025", ignore)
    node = await store.read_block(added.cid)
    assert await store.read_block(CID(1, RAW, added.cid.multihash)) == node
    assert cid_of(node).multihash == added.cid.multihash


async def test_what_is_not_stored_is_not_found(store: ContentStore, read: Read) -> None:
    for cid in (cid_of(b"nobody has this"), CID(0, DAG_PB, cid_of(b"nor this").multihash)):
        for ask in (store.stat(cid), store.read_block(cid), read(store, cid), read(store, cid, 5, 5)):
            with pytest.raises(BlockNotFound) as caught:
                await ask
            assert caught.value.cid == str(cid)


async def test_a_block_inside_its_cid_is_read_from_there(store: ContentStore, read: Read) -> None:
    cid = CID.parse("bafkqac3imvwgy3zao5xxe3de")
    assert await store.read_block(cid) == b"hello world"
    assert await read(store, cid, 6, 11) == b"world"


async def test_an_unknown_hash_function_is_told(store: ContentStore) -> None:
    with pytest.raises(UnsupportedCID, match="hash function"):
        await store.read_block(CID(1, RAW, b"\x16\x04abcd"))


async def test_an_unknown_codec_is_no_file_but_may_be_a_block(store: ContentStore, stage: Stage, read: Read) -> None:
    await store.add_file(stage(b"{}"), "key", "unixfs-v1-2025", ignore)
    dag_json = CID(1, 0x0129, cid_of(b"{}").multihash)
    assert await store.read_block(dag_json) == b"{}"
    for ask in (store.stat(dag_json), read(store, dag_json)):
        with pytest.raises(UnsupportedCID, match="codec 0x129"):
            await ask


async def test_many_files_are_added_and_read_at_once(store: ContentStore, stage: Stage, read: Read) -> None:
    contents = [bytes([number]) * 200 for number in range(40)]
    added = await asyncio.gather(
        *(
            store.add_file(stage(data), f"key-{number}", PROFILES[number % 2], ignore)
            for number, data in enumerate(contents)
        )
    )
    assert await asyncio.gather(*(read(store, file.cid) for file in added)) == contents


async def test_a_reader_that_leaves_early_disturbs_nobody(store: ContentStore, stage: Stage, read: Read) -> None:
    data = bytes(10_000)
    cid = (await store.add_file(stage(data), "key", "unixfs-v1-2025", ignore)).cid
    async for _ in store.read_file(cid, 0, len(data)):
        break
    assert await read(store, cid) == data


async def test_an_open_store_answers_its_check(store: ContentStore) -> None:
    await store.check()


def test_small_profiles_cover_both_kinds_of_leaves(small_shapes: Mapping[Profile, Shape]) -> None:
    assert {shape.raw_leaves for shape in small_shapes.values()} == {True, False}
