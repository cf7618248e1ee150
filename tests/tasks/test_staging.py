from __future__ import annotations

import array
import asyncio
import errno
import fcntl
import os
import resource
import signal
import stat
import subprocess
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.errors import DiskFull
from tasks.staging import MOST_PIECES, StagedFile, Staging
from tests.tasks.staged import file_names
from tests.waiting import eventually


async def test_the_folder_is_for_its_owner_only(staging: Staging) -> None:
    assert stat.S_IMODE(staging.sealed_path("x").parent.stat().st_mode) == 0o700
    await staging.open()


async def test_a_sealed_file_holds_what_was_written_and_is_read_only(staging: Staging) -> None:
    staged = await staging.create("a")
    await staged.write([b"one ", b"", b"two "])
    await staged.write([])
    await staged.write([b"three"])
    assert staged.size_bytes == 13
    assert file_names(staging) == ["a.part"]
    await staged.seal()
    await staged.close()
    assert file_names(staging) == ["a.sealed"]
    assert staging.sealed_path("a").read_bytes() == b"one two three"
    assert stat.S_IMODE(staging.sealed_path("a").stat().st_mode) == 0o400


async def test_what_is_discarded_is_gone(staging: Staging) -> None:
    staged = await staging.create("a")
    await staged.write([b"half of it"])
    await staged.discard()
    assert file_names(staging) == []


async def test_an_id_is_given_to_one_file_only(staging: Staging) -> None:
    staged = await staging.create("a")
    with pytest.raises(FileExistsError):
        await staging.create("a")
    await staged.discard()


@settings(max_examples=60, deadline=None)
@given(pieces=st.lists(st.lists(st.binary(max_size=40), max_size=8), max_size=8))
def test_bytes_arrive_whole_however_they_are_split(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[list[bytes]]
) -> None:
    async def write() -> bytes:
        staging = Staging(tmp_path_factory.mktemp("staging"))
        staged = await staging.create("a")
        for batch in pieces:
            await staged.write(batch)
        await staged.seal()
        await staged.close()
        return staging.sealed_path("a").read_bytes()

    assert asyncio.run(write()) == b"".join(piece for batch in pieces for piece in batch)


async def test_more_pieces_than_one_system_call_takes_arrive_in_order(staging: Staging) -> None:
    pieces = [str(number).encode() + b";" for number in range(3 * MOST_PIECES + 1)]
    staged = await staging.create("a")
    await staged.write(pieces)
    await staged.seal()
    await staged.close()
    assert staging.sealed_path("a").read_bytes() == b"".join(pieces)


async def test_what_one_system_call_left_over_is_written_by_the_next(
    staging: Staging, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pipe takes what it has room for; a disk does so too, when it is nearly full or a signal comes in between."""
    real_writev, real_write = os.writev, os.write
    monkeypatch.setattr(os, "writev", lambda fd, pieces: real_writev(fd, [b"".join(pieces)[:7]]))
    monkeypatch.setattr(os, "write", lambda fd, rest: real_write(fd, rest[:5]))
    pieces = [b"first piece, ", b"second piece, ", b"", b"third piece"]
    staged = await staging.create("a")
    await staged.write(pieces)
    await staged.write(pieces)
    await staged.seal()
    await staged.close()
    assert staging.sealed_path("a").read_bytes() == b"".join(pieces) * 2


async def test_a_file_is_not_closed_under_a_thread_that_still_writes_it(tmp_path: Path) -> None:
    """Its number would go to the next file that is opened, and the rest of the bytes with it."""
    readable, writable = os.pipe()
    staged = StagedFile(tmp_path, "a", writable)
    (tmp_path / "a.part").touch()
    writing = asyncio.create_task(staged.write([bytes(1 << 20)]))
    await eventually(lambda: bytes_waiting(readable) > 0)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    discarding = asyncio.create_task(staged.discard())
    await eventually(lambda: not (tmp_path / "a.part").exists())
    try:
        assert os.fstat(writable), "the thread waits for room in the pipe, and the file for the thread"
    finally:
        os.close(readable)  # the thread hears of it and gives up
    await discarding
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(writable)


async def test_what_was_closed_takes_no_more_bytes(staging: Staging) -> None:
    staged = await staging.create("a")
    await staged.discard()
    other = await staging.create("b")
    with pytest.raises(ValueError, match="closed"):
        await staged.write([b"stray"])
    await other.seal()
    await other.close()
    assert staging.sealed_path("b").read_bytes() == b""


def bytes_waiting(descriptor: int) -> int:
    answer = array.array("i", [0])
    fcntl.ioctl(descriptor, termios.FIONREAD, answer)
    return answer[0]


@pytest.fixture
def tiny_volume(tmp_path: Path) -> Iterator[Path]:
    """A volume of one mebibyte."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip(f"no volume can be mounted here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


async def test_a_full_volume_is_said_to_be_full_and_discarding_makes_room(tiny_volume: Path) -> None:
    staging = Staging(tiny_volume)
    before_bytes = await staging.free_bytes()
    assert 0 < before_bytes <= 1 << 20
    staged = await staging.create("a")
    with pytest.raises(DiskFull):
        await staged.write([bytes(1 << 19)] * 4)
    await staged.discard()
    assert await staging.free_bytes() == before_bytes


async def test_a_volume_without_room_for_one_more_name_is_said_to_be_full(
    staging: Staging, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(DiskFull):
        await staging.create("a")


async def test_a_limit_on_the_size_of_one_file_is_no_full_volume(staging: Staging) -> None:
    usual, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    heard = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    staged = await staging.create("a")
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, most))
    try:
        with pytest.raises(OSError) as refused:
            await staged.write([bytes(2_000)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (usual, most))
        signal.signal(signal.SIGXFSZ, heard)
    assert refused.value.errno == errno.EFBIG
    await staged.discard()
