"""The client's own ends: where an upload's bytes come from and where a download's bytes go. Never blocks the loop."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO

import aiofiles
import aiofiles.os
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

    Raises BadFile when it cannot be written.
    """
    part = target.with_name(f"{target.name}.part")
    try:
        async with aiofiles.open(part, "wb", buffering=0) as file:
            yield file.write
        await aiofiles.os.replace(part, target)
    except OSError as error:
        raise BadFile(f"{target} cannot be written: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)


async def write_stdout(piece: bytes) -> None:
    """Writes to standard output, as slowly as its reader reads."""
    await asyncio.to_thread(_write_through, sys.stdout.buffer, piece)


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
