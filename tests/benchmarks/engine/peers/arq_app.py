# mypy: disable-error-code="import-not-found"
"""arq, told to keep no results and not to wait half a second between two looks at its queue.

Run as a program it sends one task: the one named as its argument.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

from arq import create_pool
from arq.connections import RedisSettings


async def noop(context: dict[str, Any]) -> None:
    """Nothing."""


class WorkerSettings:
    """What `arq` runs."""

    functions = (noop,)
    redis_settings = RedisSettings.from_dsn(os.environ["ENGINE_REDIS_URL"])
    queue_name = "engine"
    max_jobs = 100
    poll_delay = 0.01
    keep_result = 0


async def send(name: str) -> None:
    """One task."""
    pool = await create_pool(WorkerSettings.redis_settings)
    await pool.enqueue_job(name, _queue_name="engine")
    await pool.aclose()


if __name__ == "__main__":
    asyncio.run(send(sys.argv[1]))
