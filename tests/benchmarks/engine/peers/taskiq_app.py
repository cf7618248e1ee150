# mypy: disable-error-code="import-not-found"
"""Taskiq over Redis streams, the kind of its brokers that acknowledges.

Run as a program it sends one task: the one named as its argument.
"""

from __future__ import annotations

import asyncio
import os
import sys

from taskiq_redis import RedisStreamBroker

# "0": what was sent before the worker started counts too.
broker = RedisStreamBroker(url=os.environ["ENGINE_REDIS_URL"], queue_name="engine", consumer_id="0")


async def noop() -> None:
    """Nothing."""


tasks = {"noop": broker.register_task(noop, task_name="noop")}


async def send(name: str) -> None:
    """One task."""
    await broker.startup()
    await tasks[name].kiq()
    await broker.shutdown()


if __name__ == "__main__":
    asyncio.run(send(sys.argv[1]))
