"""Brings delayed messages back into their queues for kombu's stock transport, which would never look for them."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import resources

from redis import Redis

from tasks.transport.names import Names
from tasks.transport.scripts import LUA, Script

AT_ONCE = 500

_SCRIPT = Script((LUA / "message.lua").read_text() + resources.files("tasks").joinpath("lua/undelay.lua").read_text())


def undelay(redis: Redis, queues: Iterable[str], names: Names | None = None) -> None:
    """Moves everything that is delayed. Blocks; raises RedisError."""
    names = names or Names()
    for queue in queues:
        keys = [names.delayed(queue), *(names.ready(queue, step) for step in names.steps)]
        while _SCRIPT.run(redis, keys, [AT_ONCE, *names.steps]):
            continue
