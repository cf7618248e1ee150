"""Moves a request's body into a staged file: in large batches, one written while the next arrives, never held whole.

A batch costs one hop to a thread and no copy: the server's own pieces go to `writev`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from litestar import Request

from service.errors import ClientGone, UploadTooLarge
from tasks.staging import StagedFile

BATCH_BYTES = 2 * 1024 * 1024


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


async def receive(pieces: AsyncIterator[bytes], staged: StagedFile, limit_bytes: int) -> None:
    """Writes all pieces to `staged`. A limit of 0 is none.

    Raises UploadTooLarge, DiskFull, and what `pieces` raises; no write is under way when it returns or raises.
    """
    received_bytes = batch_bytes = 0
    batch: list[bytes] = []
    writing: asyncio.Task[None] | None = None
    try:
        async for piece in pieces:
            received_bytes += len(piece)
            if limit_bytes and received_bytes > limit_bytes:
                raise UploadTooLarge(limit_bytes)
            batch.append(piece)
            batch_bytes += len(piece)
            if batch_bytes >= BATCH_BYTES:
                if writing is not None:
                    await writing
                writing = asyncio.create_task(staged.write(batch))
                batch, batch_bytes = [], 0
        if writing is not None:
            await writing
        await staged.write(batch)
    finally:
        if writing is not None and not writing.done():
            with contextlib.suppress(Exception):
                await asyncio.shield(writing)
