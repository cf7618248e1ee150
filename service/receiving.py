"""Moves a request's body into a staged file: in large batches, one written while the next arrives, never held whole.

A batch costs one hop to a thread and no copy: the server's own pieces go to `writev`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from litestar import Request

from service.errors import ClientGone, UploadStalled, UploadTooLarge
from tasks.errors import DiskFull
from tasks.staging import StagedFile

BATCH_BYTES = 2 * 1024 * 1024
RENEW_SECONDS = 1.0


class Limits(NamedTuple):
    """What one upload may take."""

    size_bytes: int
    """0 is no limit."""
    stall_seconds: float
    """How long it may bring nothing."""


class Room:
    """The data volume's room, as the uploads of one process share it: the reserve stays free, and what one of them has
    announced is kept for it.
    """

    look_again_bytes = 64 * 1024 * 1024
    """How much may be written, by all together, between two looks at the volume."""

    def __init__(self) -> None:
        self.promised_bytes = 0
        self.unseen_bytes = 0

    @contextmanager
    def claimed(self, free_bytes: Callable[[], Awaitable[int]], reserve_bytes: int) -> Iterator[Claim]:
        """What one upload may take of it. Whatever was promised and did not come is given back."""
        claim = Claim(self, free_bytes, reserve_bytes)
        try:
            yield claim
        finally:
            self.promised_bytes -= claim.promised_bytes


class Claim:
    """One upload's part of the room."""

    def __init__(self, room: Room, free_bytes: Callable[[], Awaitable[int]], reserve_bytes: int) -> None:
        self._room, self._free_bytes, self._reserve_bytes = room, free_bytes, reserve_bytes
        self._was_promised = False
        self.promised_bytes = 0

    async def promise(self, announced_bytes: int) -> None:
        """Keeps room for a body of this length; 0 is an unknown one. Raises DiskFull."""
        free_bytes = await self._free_bytes()  # and nothing is waited for between the check and the promise
        if free_bytes < self._reserve_bytes + self._room.promised_bytes + announced_bytes:
            raise DiskFull
        self._room.promised_bytes += announced_bytes
        self.promised_bytes, self._was_promised = announced_bytes, announced_bytes > 0

    async def take(self, size_bytes: int) -> None:
        """To be asked before so much is written. Raises DiskFull."""
        kept_bytes = min(size_bytes, self.promised_bytes)
        self.promised_bytes -= kept_bytes
        self._room.promised_bytes -= kept_bytes
        self._room.unseen_bytes += size_bytes
        if self._room.unseen_bytes < self._room.look_again_bytes:
            return
        others_bytes = 0 if self._was_promised else self._room.promised_bytes
        if await self._free_bytes() < self._reserve_bytes + others_bytes + size_bytes:
            raise DiskFull  # and the next to write looks too
        self._room.unseen_bytes = 0


async def body_pieces(request: Request[Any, Any, Any]) -> AsyncIterator[bytes]:
    """The body as the server hands it over. Raises ClientGone when the client leaves before its end."""
    more = True
    while more:
        message = await request.receive()
        if message["type"] != "http.request":
            raise ClientGone
        if piece := message["body"]:
            yield piece
        more = message.get("more_body", False)


async def receive(pieces: AsyncIterator[bytes], staged: StagedFile, limits: Limits, claim: Claim) -> None:
    """Writes all pieces to `staged`. Raises UploadTooLarge, UploadStalled, DiskFull, and what `pieces` raises."""
    writer, patience = _Writer(staged), _Patience(limits.stall_seconds)
    received_bytes = batch_bytes = 0
    batch: list[bytes] = []
    try:
        async with patience.timeout:
            async for piece in pieces:
                received_bytes += len(piece)
                if limits.size_bytes and received_bytes > limits.size_bytes:
                    raise UploadTooLarge(limits.size_bytes)
                batch.append(piece)
                batch_bytes += len(piece)
                if batch_bytes >= BATCH_BYTES:
                    patience.pause()  # a slow disk is not the client's fault
                    await claim.take(batch_bytes)
                    await writer.begin(batch)
                    batch, batch_bytes = [], 0
                patience.renew()
        await claim.take(batch_bytes)
        await writer.begin(batch)
        await writer.finish()
    except TimeoutError as error:
        raise UploadStalled(limits.stall_seconds) from error
    finally:
        await writer.settle()


class _Writer:
    """One write at a time, and none under way when `settle` returns, even if the request is cancelled: the file is
    closed then, and its descriptor may soon be another file's."""

    def __init__(self, staged: StagedFile) -> None:
        self._staged = staged
        self._writing: asyncio.Task[None] | None = None

    async def begin(self, batch: list[bytes]) -> None:
        """Begins to write `batch` once the one before is written. Raises what that one met."""
        await self.finish()
        self._writing = asyncio.create_task(self._staged.write(batch))

    async def finish(self) -> None:
        """Waits for the last batch. Raises what it met."""
        if self._writing is not None:
            await asyncio.shield(self._writing)

    async def settle(self) -> None:
        """Waits for the last batch, whatever becomes of it."""
        if self._writing is not None:
            await asyncio.wait([self._writing])


class _Patience:
    """Runs out when `seconds` pass without `renew`, which is cheap enough to be called for every piece."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._renew_at = seconds, 0.0
        self.timeout = asyncio.timeout(seconds)

    def renew(self) -> None:
        """Begins to wait anew."""
        now = asyncio.get_running_loop().time()
        if now >= self._renew_at:
            self.timeout.reschedule(now + self._seconds)
            self._renew_at = now + min(RENEW_SECONDS, self._seconds / 2)

    def pause(self) -> None:
        """Does not run out until it is renewed."""
        self.timeout.reschedule(None)
        self._renew_at = 0.0
