"""What waits for a worker: one real message of each engine's own making, multiplied, and how many are not done yet.

A message is done once its engine has acknowledged it, or else a worker that only fetches would look fast.
"""

from __future__ import annotations

import re
import subprocess
import uuid
from typing import Any, Protocol

from tests.benchmarks.engine import environments, processes

QUEUE = "engine"
BATCH = 5_000
Client = Any
"""A `redis.Redis`, whose annotations cannot tell the answers of a blocking client from an awaitable."""

UUID = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


class Backlog(Protocol):
    """The queue of one engine, in an own database."""

    def add(self, pipeline: Any, message: bytes) -> None:
        """One more."""

    def take(self, redis: Client) -> bytes:
        """The message that has just been sent, out of the queue again."""

    def remaining(self, redis: Client) -> int:
        """How many wait or run."""


class CeleryBacklog:
    """A list, and the hash `unacked`, on which kombu's transports and ours agree."""

    def __init__(self, queue: str = QUEUE) -> None:
        self._queue = queue

    def add(self, pipeline: Any, message: bytes) -> None:
        pipeline.lpush(self._queue, message)

    def take(self, redis: Client) -> bytes:
        return bytes(redis.lpop(self._queue))

    def remaining(self, redis: Client) -> int:
        return sum(redis.pipeline().llen(self._queue).hlen("unacked").execute())


class DramatiqBacklog:
    """A list of ids and a hash of messages, which forgets a message when it is acknowledged."""

    def add(self, pipeline: Any, message: bytes) -> None:
        message_id = UUID.findall(message.partition(b"redis_message_id")[2])[0]
        pipeline.hset(f"dramatiq:{QUEUE}.msgs", message_id, message)
        pipeline.rpush(f"dramatiq:{QUEUE}", message_id)

    def take(self, redis: Client) -> bytes:
        message_id: Any = redis.lpop(f"dramatiq:{QUEUE}")
        message: Any = redis.hget(f"dramatiq:{QUEUE}.msgs", message_id)
        redis.hdel(f"dramatiq:{QUEUE}.msgs", message_id)
        return bytes(message)

    def remaining(self, redis: Client) -> int:
        return int(redis.hlen(f"dramatiq:{QUEUE}.msgs"))


class TaskiqBacklog:
    """A stream: what its group has not read, and what it has not acknowledged."""

    def add(self, pipeline: Any, message: bytes) -> None:
        pipeline.xadd(QUEUE, {"data": message})

    def take(self, redis: Client) -> bytes:
        [(_, fields)] = redis.xrange(QUEUE)
        redis.delete(QUEUE)
        return bytes(fields[b"data"])

    def remaining(self, redis: Client) -> int:
        groups: Any = redis.xinfo_groups(QUEUE) if redis.exists(QUEUE) else []
        return int(groups[0]["pending"] + groups[0]["lag"]) if groups else int(redis.xlen(QUEUE))


class ArqBacklog:
    """A sorted set of job ids, each with its job in a key of its own."""

    def add(self, pipeline: Any, message: bytes) -> None:
        job_id = uuid.uuid4().hex
        pipeline.set(f"arq:job:{job_id}", message)
        pipeline.zadd(QUEUE, {job_id: 1})

    def take(self, redis: Client) -> bytes:
        [(job_id, _)] = redis.zpopmin(QUEUE)
        message: Any = redis.getdel(b"arq:job:" + job_id)
        return bytes(message)

    def remaining(self, redis: Client) -> int:
        return int(redis.zcard(QUEUE))


def one_message(peer: str, task: str, backlog: Backlog, redis: Client, variables: dict[str, str]) -> bytes:
    """A message as the engine's own client sends it. Empties the database."""
    redis.flushdb()
    application = environments.PEERS / f"{peer}_app.py"
    command = [str(environments.interpreter(peer)), str(application), task]
    subprocess.run(command, env=processes.environment(variables), cwd=processes.ROOT, check=True)
    return backlog.take(redis)


def fill(backlog: Backlog, redis: Client, message: bytes, count: int) -> None:
    """Adds `count` messages like this one, each with ids of its own."""
    ids = sorted(set(UUID.findall(message)))
    for start in range(0, count, BATCH):
        pipeline = redis.pipeline(transaction=False)
        for _ in range(min(BATCH, count - start)):
            backlog.add(pipeline, with_own_ids(message, ids))
        pipeline.execute()


def with_own_ids(message: bytes, ids: list[bytes]) -> bytes:
    """The message with other UUIDs in the place of `ids`, the same one wherever an id is repeated."""
    for known in ids:
        message = message.replace(known, str(uuid.uuid4()).encode())
    return message
