"""What the tests of child processes share: making them, and knowing which process runs what."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tasks.pool.children import Children

APPLICATION = "tests.tasks.pool.child_app:app"

Make = Callable[..., Children]


@asynccontextmanager
async def making() -> AsyncIterator[Make]:
    """Makes children that end with the block, which may take 30 s."""
    made: list[Children] = []

    def make(application: str = APPLICATION, **options: Any) -> Children:
        made.append(Children(application, "me@here", **{"processes": 2, "lone_processes": 2} | options))
        return made[-1]

    async with asyncio.timeout(30):
        yield make
    for children in made:
        await children.close()


def begun_in(file: Path) -> Callable[[], int]:
    """Asks for the process that has written its id there."""
    return lambda: int(file.read_text() or 0) if file.exists() else 0


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False
