"""What `moorage get` writes: a file of the user's is replaced by a whole one or left alone, and nothing else is."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from service.client_errors import BadFile
from service.client_files import written_file


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "out"


@pytest.fixture(autouse=True)
def folder(target: Path) -> Path:
    target.parent.mkdir()
    return target.parent


async def write(target: Path, *pieces: bytes) -> None:
    async with written_file(target) as write:
        for piece in pieces:
            await write(piece)


async def test_a_file_appears_when_it_is_whole_with_the_mode_any_new_file_has(target: Path) -> None:
    usual = target.with_name("usual")
    usual.touch()
    async with written_file(target) as write:
        await write(b"ab")
        assert not target.exists()
        await write(b"c")
    assert target.read_bytes() == b"abc"
    assert target.stat().st_mode == usual.stat().st_mode
    assert set(target.parent.iterdir()) == {target, usual}


async def test_a_file_that_is_replaced_keeps_its_mode(target: Path) -> None:
    target.write_bytes(b"old")
    target.chmod(0o640)
    await write(target, b"new")
    assert (target.read_bytes(), stat.S_IMODE(target.stat().st_mode)) == (b"new", 0o640)


async def test_the_user_s_own_part_file_is_left_alone(target: Path) -> None:
    own = target.with_name("out.part")
    own.write_bytes(b"mine")
    await write(target, b"new")
    assert own.read_bytes() == b"mine"
    assert set(target.parent.iterdir()) == {target, own}


async def test_a_name_as_long_as_names_may_be_can_be_written(target: Path) -> None:
    longest = target.with_name("n" * 255)
    await write(longest, b"new")
    assert longest.read_bytes() == b"new"


@pytest.mark.parametrize("old", [b"old", None])
async def test_a_symbolic_link_stays_one_and_what_it_names_is_written(target: Path, old: bytes | None) -> None:
    real = target.parent.with_name("real")
    if old is not None:
        real.write_bytes(old)
    target.symlink_to(Path("..") / "real")
    await write(target, b"new")
    assert target.is_symlink()
    assert real.read_bytes() == b"new"
    assert list(target.parent.iterdir()) == [target]


async def test_a_pipe_stays_one_and_its_reader_gets_the_bytes(target: Path) -> None:
    os.mkfifo(target)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(target.read_bytes()), daemon=True)
    reader.start()
    await write(target, b"x" * 300_000, b"end")
    assert target.is_fifo()
    reader.join(10)
    assert got == [b"x" * 300_000 + b"end"]
    assert list(target.parent.iterdir()) == [target]


async def test_a_failure_leaves_the_old_file_and_nothing_beside_it(target: Path) -> None:
    target.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError):
        async with written_file(target) as write:
            await write(b"half")
            raise ZeroDivisionError
    assert target.read_bytes() == b"old"
    assert list(target.parent.iterdir()) == [target]


async def test_a_folder_of_that_name_is_a_sentence(target: Path) -> None:
    target.mkdir()
    with pytest.raises(BadFile, match="cannot be written: Is a directory"):
        await write(target, b"new")
    assert list(target.parent.iterdir()) == [target]
