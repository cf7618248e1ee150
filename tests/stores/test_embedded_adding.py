"""Adding to the embedded store: nothing kept twice, nothing lost when it stops half way, nothing left behind."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import threading
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import pytest

from tasks.errors import DiskFull, StagedFileMissing, StoreUnavailable
from tasks.stores.embedded.adding import Adder
from tasks.stores.embedded.folder import Folder
from tasks.stores.embedded.hashing import LeafHasher
from tasks.stores.embedded.index import MAX_RIVALS, Holder, Index
from tasks.stores.embedded.store import EmbeddedStore
from tasks.stores.protocol import Profile
from tasks.stores.unixfs import PROFILES, Shape
from tests.stores.additions import DATA, DEADLINE_SECONDS, files_in, ignore

Stage = Callable[[bytes], Path]
Read = Callable[..., Awaitable[bytes]]


async def test_the_file_is_moved_in_whole_and_made_read_only(
    embedded: EmbeddedStore, stage: Stage, tmp_path: Path
) -> None:
    staged = stage(DATA)
    inode = staged.stat().st_ino
    await embedded.add_file(staged, "key", "unixfs-v1-2025", ignore)
    (kept,) = (tmp_path / "store" / "files").glob("*/key")
    assert kept.stat().st_ino == inode
    assert stat.S_IMODE(kept.stat().st_mode) == 0o400
    assert not staged.exists()


async def test_progress_comes_in_steps_that_a_caller_can_show(embedded: EmbeddedStore, stage: Stage) -> None:
    seen: list[int] = []
    await embedded.add_file(stage(bytes(9 << 20)), "key", "unixfs-v1-2025", seen.append)
    assert seen == [4 << 20, 8 << 20, 9 << 20]


async def test_the_same_content_is_kept_once_for_both_keys(
    embedded: EmbeddedStore, stage: Stage, read: Read, tmp_path: Path
) -> None:
    one = await embedded.add_file(stage(DATA), "one", "unixfs-v1-2025", ignore)
    two = await embedded.add_file(stage(DATA), "two", "unixfs-v1-2025", ignore)
    assert one == two
    assert files_in(tmp_path) == ["one"]
    assert await embedded.orphans() == []
    for key in ("one", "two"):
        assert await embedded.add_file(tmp_path / "gone", key, "unixfs-v1-2025", ignore) == one
    assert await read(embedded, one.cid) == DATA


async def test_the_same_content_under_another_profile_shares_the_file(
    embedded: EmbeddedStore, stage: Stage, read: Read, tmp_path: Path
) -> None:
    modern = await embedded.add_file(stage(DATA), "modern", "unixfs-v1-2025", ignore)
    legacy = await embedded.add_file(stage(DATA), "legacy", "unixfs-v0-2015", ignore)
    assert modern.cid != legacy.cid
    assert files_in(tmp_path) == ["modern"]
    assert await read(embedded, modern.cid) == await read(embedded, legacy.cid) == DATA


async def test_files_that_are_alike_at_both_ends_are_not_taken_for_equal(
    embedded: EmbeddedStore, stage: Stage, read: Read, tmp_path: Path
) -> None:
    other = DATA[: 1 << 20] + b"different" + DATA[(1 << 20) + 9 :]
    added = [
        await embedded.add_file(stage(data), key, "unixfs-v1-2025", ignore)
        for key, data in (("one", DATA), ("two", other))
    ]
    assert files_in(tmp_path) == ["one", "two"]
    assert [await read(embedded, file.cid) for file in added] == [DATA, other]


async def test_many_files_made_to_look_alike_do_not_make_additions_slow(
    embedded: EmbeddedStore, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[Holder] = []
    compare = Adder._holds_same

    def counting(self: Adder, rival: Holder, descriptor: int, on_piece: Callable[[], None]) -> bool:
        compared.append(rival)
        return compare(self, rival, descriptor, on_piece)

    monkeypatch.setattr(Adder, "_holds_same", counting)
    for number in range(MAX_RIVALS + 3):
        data = bytes(100_000) + bytes([number]) + bytes(100_000)
        compared.clear()
        await embedded.add_file(stage(data), f"key-{number}", "unixfs-v1-2025", ignore)
        assert len(compared) == min(number, MAX_RIVALS)


async def test_many_additions_of_the_same_content_at_once_leave_one_file(
    embedded: EmbeddedStore, stage: Stage, read: Read, tmp_path: Path
) -> None:
    added = await asyncio.gather(
        *(embedded.add_file(stage(DATA), f"key-{number}", "unixfs-v1-2025", ignore) for number in range(8))
    )
    assert len(set(added)) == 1
    assert len(files_in(tmp_path)) == 1
    assert await read(embedded, added[0].cid) == DATA


async def test_a_cancelled_addition_stops_at_once_and_can_be_taken_up_again(
    embedded: EmbeddedStore, stage: Stage, read: Read
) -> None:
    data = bytes(64 << 20)
    staged = stage(data)
    seen: list[int] = []
    first_step, go_on = threading.Event(), threading.Event()

    def on_progress(hashed_bytes: int) -> None:
        seen.append(hashed_bytes)
        first_step.set()
        go_on.wait(DEADLINE_SECONDS)

    adding = asyncio.create_task(embedded.add_file(staged, "key", "unixfs-v1-2025", on_progress))
    assert await asyncio.to_thread(first_step.wait, DEADLINE_SECONDS)
    adding.cancel()
    asyncio.get_running_loop().call_later(0, go_on.set)
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(asyncio.shield(adding), DEADLINE_SECONDS)
    assert seen == [4 << 20]
    added = await embedded.add_file(staged, "key", "unixfs-v1-2025", ignore)
    assert added.size_bytes == len(data)
    assert await read(embedded, added.cid, 0, 10) == bytes(10)


async def test_a_cancelled_addition_that_has_not_begun_leaves_the_staged_file(
    embedded: EmbeddedStore, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded._adders, "_max_workers", 1)
    busy = threading.Event()
    embedded._adders.submit(busy.wait, DEADLINE_SECONDS)
    staged = stage(DATA)
    adding = asyncio.create_task(embedded.add_file(staged, "key", "unixfs-v1-2025", ignore))
    await asyncio.wait([adding], timeout=0)
    adding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await adding
    busy.set()
    assert staged.exists()


async def test_a_full_disk_is_told_and_the_addition_can_be_taken_up_again(
    embedded: EmbeddedStore, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    staged = stage(DATA)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", full)
        with pytest.raises(DiskFull):
            await embedded.add_file(staged, "key", "unixfs-v1-2025", ignore)
    assert (await embedded.add_file(staged, "key", "unixfs-v1-2025", ignore)).size_bytes == len(DATA)


async def test_a_full_index_is_a_full_disk(
    tmp_path: Path, small_shapes: Mapping[Profile, Shape], stage: Stage, read: Read
) -> None:
    store = EmbeddedStore(tmp_path / "store", small_shapes)
    await store.open()
    with store._index._connections.lend() as connection:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")
    staged = stage(DATA[:20_000])
    with pytest.raises(DiskFull):
        await store.add_file(staged, "key", "unixfs-v1-2025", ignore)
    # The connection that said so is not used again, and another has no such limit.
    added = await store.add_file(staged, "key", "unixfs-v1-2025", ignore)
    assert await read(store, added.cid) == DATA[:20_000]
    await store.close()


async def test_staging_on_another_volume_is_explained(
    embedded: EmbeddedStore, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def elsewhere(*arguments: object) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    staged = stage(DATA)
    monkeypatch.setattr(Path, "rename", elsewhere)
    with pytest.raises(StoreUnavailable, match="one volume"):
        await embedded.add_file(staged, "key", "unixfs-v1-2025", ignore)
    assert staged.exists()


@pytest.mark.parametrize("key", ["", "../escape", "a/b", ".hidden", "x" * 200, "new\nline"])
async def test_a_key_that_could_be_a_path_is_refused(embedded: EmbeddedStore, stage: Stage, key: str) -> None:
    with pytest.raises(ValueError, match="not a key"):
        await embedded.add_file(stage(DATA), key, "unixfs-v1-2025", ignore)


async def test_a_file_that_shrinks_while_it_is_hashed_is_told(
    embedded: EmbeddedStore, stage: Stage, tmp_path: Path
) -> None:
    staged = stage(bytes(64 << 20))

    def shrink(hashed_bytes: int) -> None:
        (kept,) = (tmp_path / "store" / "files").glob("*/key")
        os.truncate(kept, 2 << 20)

    with pytest.raises(StagedFileMissing):
        await embedded.add_file(staged, "key", "unixfs-v1-2025", shrink)


async def test_leftovers_are_found_and_only_they_can_be_discarded(
    embedded: EmbeddedStore, stage: Stage, read: Read, tmp_path: Path
) -> None:
    kept = await embedded.add_file(stage(DATA), "kept", "unixfs-v1-2025", ignore)
    Folder(tmp_path / "store").take(stage(b"never finished"), "leftover").close()
    assert await embedded.orphans() == ["leftover"]
    assert not await embedded.discard("kept")
    assert not await embedded.discard("unknown")
    assert await embedded.discard("leftover")
    assert await embedded.orphans() == []
    assert files_in(tmp_path) == ["kept"]
    assert await read(embedded, kept.cid) == DATA


async def test_a_large_file_is_indexed_in_bounded_transactions(
    embedded: EmbeddedStore, stage: Stage, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    record = Index.record

    def counting(self: Index, holder: object, parts: list[object], *completes: object) -> None:
        sizes.append(len(parts))
        record(self, holder, parts, *completes)  # type: ignore[arg-type]

    monkeypatch.setattr("tasks.stores.embedded.adding.ROWS_A_TRANSACTION", 5)
    monkeypatch.setattr(Index, "record", counting)
    added = await embedded.add_file(stage(DATA), "key", "unixfs-v0-2015", ignore)
    assert sizes == [5, 5, 4]  # 13 leaves and the root
    assert await read(embedded, added.cid) == DATA


def test_hashing_keeps_a_bounded_number_of_stripes_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(64 << 20))
    hasher = LeafHasher(threads=2)
    submitted: list[object] = []
    submit = hasher._pool.submit

    def counting(*arguments: object) -> object:
        submitted.append(arguments)
        return submit(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(hasher._pool, "submit", counting)
    with path.open("rb") as file:
        stripes = hasher.digests(file.fileno(), 64 << 20, PROFILES["unixfs-v1-2025"])
        next(stripes)
        assert len(submitted) == 4
        stripes.close()
    hasher.close()
    assert len(submitted) == 4
