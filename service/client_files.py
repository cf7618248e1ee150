"""The client's own ends: where an upload's bytes come from and where a download's bytes go. Never blocks the loop."""

from __future__ import annotations

import asyncio
import os
import secrets
import stat
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import BinaryIO

import aiofiles
import msgspec

from service.client_errors import BadFile

PIECE_BYTES = 1024 * 1024


class Source(msgspec.Struct, frozen=True):
    """Something to upload. `pieces()` may be called once."""

    name: str
    size_bytes: int | None
    """None when nobody knows before the end."""
    pieces: Callable[[], AsyncIterator[bytes]]


def file_source(path: Path) -> Source:
    """A regular file. Raises BadFile when it cannot be read."""
    try:
        if not path.is_file():
            raise BadFile(f"{path} is not a file" if path.exists() else f"there is no file {path}")
        with path.open("rb") as probe:
            size_bytes = os.fstat(probe.fileno()).st_size
    except OSError as error:
        raise BadFile(f"{path} cannot be read: {error.strerror}") from error
    return Source(printable(path.name), size_bytes, lambda: _file_pieces(path, size_bytes))


def stream_source(stream: BinaryIO, name: str) -> Source:
    """A pipe, sent as it comes."""
    return Source(name, None, lambda: _stream_pieces(stream))


def printable(name: str) -> str:
    """`name` as text that can be sent and printed: bytes of a file name that are not UTF-8 become U+FFFD."""
    return os.fsencode(name).decode(errors="replace")


@asynccontextmanager
async def written_file(target: Path) -> AsyncIterator[Callable[[bytes], Awaitable[object]]]:
    """Gives a function that writes bytes. Only when the block ends well is there a file `target`, and it is whole.

    A symbolic link is followed. A pipe or a device stays what it is, and gets the bytes as they come.
    Raises BadFile when it cannot be written.
    """
    try:
        async with _way_to(target) as write:
            yield write
    except OSError as error:
        raise BadFile(f"{target} cannot be written: {error.strerror}") from error


async def write_stdout(piece: bytes) -> None:
    """Writes to standard output, as slowly as its reader reads."""
    await asyncio.to_thread(_write_through, sys.stdout.buffer, piece)


def _way_to(target: Path) -> AbstractAsyncContextManager[Callable[[bytes], Awaitable[object]]]:
    is_special = target.exists() and not target.is_file()
    return _written_through(target) if is_special else _written_whole(Path(os.path.realpath(target)))


@asynccontextmanager
async def _written_through(target: Path) -> AsyncIterator[Callable[[bytes], Awaitable[object]]]:
    async with aiofiles.open(target, "wb") as file:
        yield file.write


@asynccontextmanager
async def _written_whole(target: Path) -> AsyncIterator[Callable[[bytes], Awaitable[object]]]:
    """Writes beside the target, under a name nobody has, and then replaces it; it keeps the mode it had."""
    part = target.with_name(f".moorage-{secrets.token_hex(8)}.part")
    async with aiofiles.open(part, "xb") as file:
        try:
            yield file.write
            await file.close()  # which may find the disk full
            await asyncio.to_thread(_take_place, part, target)
        finally:
            part.unlink(missing_ok=True)


def _take_place(part: Path, target: Path) -> None:
    if target.exists():
        part.chmod(stat.S_IMODE(target.stat().st_mode))
    part.replace(target)


def _write_through(stream: BinaryIO, piece: bytes) -> None:
    stream.write(piece)
    stream.flush()


async def _file_pieces(path: Path, size_bytes: int) -> AsyncIterator[bytes]:
    """Exactly `size_bytes`: the length was promised to the server."""
    left_bytes = size_bytes
    async with aiofiles.open(path, "rb", buffering=0) as file:
        while left_bytes and (piece := await file.read(min(PIECE_BYTES, left_bytes))):
            left_bytes -= len(piece)
            yield piece
    if left_bytes:
        raise BadFile(f"{path} became shorter while it was sent")


async def _stream_pieces(stream: BinaryIO) -> AsyncIterator[bytes]:
    while piece := await asyncio.to_thread(stream.read, PIECE_BYTES):
        yield piece
