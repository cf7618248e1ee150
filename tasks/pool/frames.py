"""The words a worker and its child processes exchange: byte strings, each behind its length, on a socket of their own.

worker ─▶ child   a pickled `Call` · STOPPING · STOP
child ─▶ worker   READY · a pickled `(returned, value)`
"""

from __future__ import annotations

import asyncio
import signal
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

READY = b"ready"
"""The child has imported the application and waits for calls."""
STOPPING = b"stopping"
"""The worker takes no new work: what runs may go on for the grace."""
STOP = b"stop"
"""The child shall end when it has done what it was given."""

SOFT_LIMIT_SIGNAL = signal.SIGUSR1
"""The one word that reaches a child inside a body. Prefork's own, so that bodies which mask it need not change."""

Call = Callable[[], Any]
"""What a child runs: anything that can be pickled. Celery asks a pool for a partial of its tracer and a message."""

_LENGTH = struct.Struct(">Q")


def framed(word: bytes) -> bytes:
    """The word as it travels."""
    return _LENGTH.pack(len(word)) + word


async def read(reader: asyncio.StreamReader) -> bytes:
    """The next word. Raises IncompleteReadError or OSError when the other side has gone."""
    (size_bytes,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
    return await reader.readexactly(size_bytes)


def heard(channel: socket.socket) -> Iterator[bytes]:
    """The words that arrive, until the other side has gone."""
    with channel.makefile("rb") as file:
        while (head := _exactly(file, _LENGTH.size)) is not None:
            word = _exactly(file, *_LENGTH.unpack(head))
            if word is None:
                return
            yield word


def _exactly(file: BinaryIO, size_bytes: int) -> bytes | None:
    try:
        found = file.read(size_bytes)
    except OSError:
        return None
    return found if len(found) == size_bytes else None
