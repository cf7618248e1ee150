"""Live records: what a poller sees of a task, in Redis, written by whoever runs it.

For a durable task the catalog is the truth and its record a view of it that is dropped a minute after nobody renews it,
so that it can be stale for a minute at most. For other tasks the record is all there is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import resources
from typing import Any, Literal

import msgspec
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.commands.core import AsyncScript
from redis.exceptions import RedisError

from tasks.batching import Batches
from tasks.catalog.tasks import FINISHED, State, TaskError, TaskRow
from tasks.errors import RecordsUnavailable
from tasks.result_copies import Stored
from tasks.shared_reads import SharedReads

UNFINISHED_TTL_SECONDS = 60.0
"""How long a durable task's unfinished record outlives its last report. Reports come every few seconds."""

KEPT_PER_OWNER = 1_000
"""How many of an owner's Redis-only tasks are listed."""

_WRITTEN = ord("1")
_FINISHED_RANK = 10**12
_PHASES = {"STARTED": 1, "PROGRESS": 2, "PENDING": 4, "RETRY": 4}

Status = Literal["pending", "processing", "retrying", "completed", "failed", "cancelled"]
STATUSES: dict[State, Status] = {
    "PENDING": "pending",
    "STARTED": "processing",
    "PROGRESS": "processing",
    "RETRY": "retrying",
    "SUCCESS": "completed",
    "FAILURE": "failed",
    "REVOKED": "cancelled",
}


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a task. `progress` is 0–100; times are seconds since the Unix epoch."""

    task_id: str
    owner: str
    actor: str
    queue: str
    durable: bool
    state: State = "PENDING"
    attempt: int = 0
    starts: int = 0
    progress: float = 0.0
    message: str = ""
    result: Any = None
    error: TaskError | None = None
    created_at: float
    started_at: float | None = None
    finished_at: float | None = None
    rank: int = 0
    """How far on it is. It stays the last field: the scripts read it off the end of the JSON."""

    @property
    def finished(self) -> bool:
        """Whether it will never change again."""
        return self.state in FINISHED


def from_row(row: TaskRow) -> Record:
    """The record of a durable task as the catalog knows it."""
    return Record(
        task_id=row.id,
        owner=row.owner,
        actor=row.actor,
        queue=row.queue,
        durable=True,
        state=row.state,
        attempt=row.attempt,
        starts=row.starts,
        progress=100.0 if row.state == "SUCCESS" else 0.0,
        result=row.result,
        error=row.error,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
    )


def rank(record: Record) -> int:
    """How far on a record is: of two records of one task the higher is the truth."""
    return _FINISHED_RANK if record.finished else record.starts * 10 + _PHASES[record.state]


def record_key(task_id: str) -> str:
    """Where a record is kept."""
    return f"moorage:task:{task_id}"


def owner_key(owner: str) -> str:
    """Where the ids of an owner's Redis-only tasks are kept, scored by their time."""
    return f"moorage:owner:{owner}:tasks"


class Records:
    """Reads and writes live records on one connection pool. Who comes together shares a round trip."""

    def __init__(self, redis: Redis, ttl_seconds: float) -> None:
        self._redis = redis
        self._ttl_seconds = ttl_seconds
        self._write_script = _script(redis, "write_records.lua")
        self._begin_script = _script(redis, "begin_records.lua")
        self._finish_script = _script(redis, "finish_records.lua")
        self._encode = msgspec.json.Encoder().encode
        self._pack = msgspec.msgpack.Encoder().encode
        self._decoder = msgspec.json.Decoder(Record)
        self._reads = SharedReads(self.get_many)
        self._writes = Batches(self._write_many)
        self._begins = Batches(self._begin_many)
        self._ends = Batches(self._finish_many)

    def stage(self, pipeline: Pipeline, record: Record) -> None:
        """Adds the creation of a record to a pipeline; a record that is already there is kept."""
        body, ttl_milliseconds = self._encoded(record)
        pipeline.set(record_key(record.task_id), body, px=ttl_milliseconds, nx=True)
        if not record.durable:
            pipeline.zadd(owner_key(record.owner), {record.task_id: record.created_at})
            pipeline.zremrangebyrank(owner_key(record.owner), 0, -KEPT_PER_OWNER - 1)
            pipeline.pexpire(owner_key(record.owner), ttl_milliseconds)

    async def write(self, record: Record) -> bool:
        """Writes a record unless a later one is there; False in that case. Raises RecordsUnavailable."""
        return await self._writes.ask(record)

    async def begin(self, started: Record) -> Record | None:
        """Writes the record of a task's first start, unless there is one that is further on; then returns that.

        Raises RecordsUnavailable.
        """
        found = await self._begins.ask(started)
        if found is None:
            return None
        record = self.decode(found)
        if record is None:
            await self.write(started)
        return record

    async def finish(self, record: Record, copy: Stored) -> bool:
        """Writes the record of a success unless a later one is there, and with it Celery's copy of the result.

        False when there was a copy before, which is left as it is. Raises RecordsUnavailable.
        """
        return await self._ends.ask((record, copy))

    async def get(self, task_id: str) -> Record | None:
        """One record, or None when Redis does not have it. Raises RecordsUnavailable."""
        return await self._reads.get(task_id)

    async def get_many(self, task_ids: list[str]) -> list[Record | None]:
        """Records in the order asked for. Raises RecordsUnavailable."""
        if not task_ids:
            return []
        try:
            bodies = await self._redis.mget([record_key(task_id) for task_id in task_ids])
        except (RedisError, OSError) as error:
            raise RecordsUnavailable from error
        return [None if body is None else self.decode(body) for body in bodies]

    async def owned(self, owner: str, before: float | None, keep: Callable[[Record], bool], limit: int) -> list[Record]:
        """The owner's Redis-only tasks that `keep` accepts, newest first. Raises RecordsUnavailable."""
        newest = f"({before}" if before is not None else "+inf"
        try:
            ids: Any = await self._redis.zrevrangebyscore(owner_key(owner), newest, "-inf")
        except (RedisError, OSError) as error:
            raise RecordsUnavailable from error
        found = await self.get_many([task_id.decode() for task_id in ids])
        return [record for record in found if record is not None and keep(record)][:limit]

    async def _write_many(self, records: list[Record]) -> list[bool]:
        arguments: list[bytes | int] = []
        for record in records:
            body, ttl_milliseconds = self._encoded(record)
            arguments += (body, rank(record), ttl_milliseconds)
        written: bytes = await self._called(self._write_script, _keys(records), arguments)
        return [digit == _WRITTEN for digit in written]

    async def _finish_many(self, ends: list[tuple[Record, Stored]]) -> list[bool]:
        keys: list[str] = []
        values: list[str | bytes | int] = []
        for record, copy in ends:
            body, ttl_milliseconds = self._encoded(record)
            keys += (record_key(record.task_id), copy.key)
            values += (body.decode(), rank(record), ttl_milliseconds, copy.body, copy.expires_seconds)
        stored: bytes = await self._called(self._finish_script, keys, [self._pack(values)])
        return [digit == _WRITTEN for digit in stored]

    async def _begin_many(self, records: list[Record]) -> list[bytes | None]:
        values: list[str | int] = []
        for record in records:
            body, ttl_milliseconds = self._encoded(record)
            values += (body.decode(), ttl_milliseconds)  # the scripts' MessagePack knows text, and no bytes
        others: list[Any] = await self._called(self._begin_script, _keys(records), [self._pack(values)])
        found: list[bytes | None] = [None] * len(records)
        for number, body in zip(others[0::2], others[1::2], strict=True):
            found[number - 1] = body
        return found

    async def _called(self, script: AsyncScript, keys: list[str], arguments: Sequence[bytes | int]) -> Any:
        try:
            return await script(keys=keys, args=arguments)
        except (RedisError, OSError) as error:
            raise RecordsUnavailable from error

    def _encoded(self, record: Record) -> tuple[bytes, int]:
        passing = record.durable and not record.finished
        ttl_seconds = UNFINISHED_TTL_SECONDS if passing else self._ttl_seconds
        return self._encode(msgspec.structs.replace(record, rank=rank(record))), max(1, int(ttl_seconds * 1000))

    def decode(self, body: bytes | str) -> Record | None:
        """What cannot be read, because another version wrote it, counts as gone: the catalog knows better."""
        try:
            return self._decoder.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return None


def _keys(records: list[Record]) -> list[str]:
    return [record_key(record.task_id) for record in records]


def _script(redis: Redis, name: str) -> AsyncScript:
    return redis.register_script(resources.files("tasks").joinpath("lua", name).read_text())
