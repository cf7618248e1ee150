"""Turns pieces that are read in a thread into an async stream, with one piece read ahead."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any


async def stream(
    pieces: Iterator[bytes],
    in_thread: Callable[[Callable[[], bytes | None]], Awaitable[bytes | None]],
) -> AsyncIterator[bytes]:
    """Gives each piece while the next one is being read: one thread hop a piece, two pieces in memory."""

    def read_ahead() -> asyncio.Future[bytes | None]:
        upcoming = asyncio.ensure_future(in_thread(lambda: next(pieces, None)))
        upcoming.add_done_callback(retrieve)
        return upcoming

    upcoming = read_ahead()
    try:
        while (piece := await upcoming) is not None:
            upcoming = read_ahead()
            yield piece
    finally:
        upcoming.cancel()


def retrieve(future: asyncio.Future[Any]) -> None:
    """Keeps asyncio from reporting an error of work that nobody waits for any more."""
    if not future.cancelled():
        future.exception()
