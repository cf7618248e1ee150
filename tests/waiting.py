"""Waiting for what another process or task does, with a deadline instead of a guess."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

T = TypeVar("T")

POLL_SECONDS = 0.02


@overload
async def eventually(check: Callable[[], Awaitable[T]], deadline_seconds: float = 10.0) -> T: ...
@overload
async def eventually(check: Callable[[], T], deadline_seconds: float = 10.0) -> T: ...
async def eventually(check: Callable[[], Any], deadline_seconds: float = 10.0) -> Any:
    """Asks `check` until it answers something true, and returns that; fails the test when the deadline has passed.

    An AssertionError of `check` counts as "not yet"; the last one is shown when time is up.
    """
    last: object = None
    try:
        async with asyncio.timeout(deadline_seconds):
            while True:
                try:
                    found = check()
                    last = await found if inspect.isawaitable(found) else found
                    if last:
                        return last
                except AssertionError as error:
                    last = error
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError:
        raise AssertionError(f"not within {deadline_seconds:g} s; last seen: {last!r}") from None
