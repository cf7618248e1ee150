"""Live records in this process's memory, exact: Redis says when one of them changes.

A poll of a record that was read before asks nobody. Records are read on one connection with client-side caching
(`CLIENT TRACKING`, RESP3), on which the server sends an invalidation before anything later; so what is in memory is
what a read now would bring. Should that connection be lost or fall silent, the memory is emptied first. A server or
proxy that refuses tracking is asked every time instead, and the log says so once.
https://valkey.io/topics/client-side-caching/
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import deque
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from tasks.errors import RecordsUnavailable
from tasks.records import Record, Records, record_key
from tasks.shared_reads import SharedReads

MOST_RECORDS = 20_000
ANSWER_SECONDS = 2.0
PROBE_SECONDS = 5.0
"""How often a silent connection is asked whether it is still there: the longest a record can be stale."""

log = structlog.get_logger(__name__)


class RecordCache:
    """Reads records for one process."""

    def __init__(self, redis: Redis, records: Records) -> None:
        self._redis, self._records = redis, records
        self._known: dict[str, Record] = {}
        self._reads = SharedReads(self._fetch)
        self._link: _Link | None = None
        self._refused = False

    async def get(self, task_id: str) -> Record | None:
        """One record, or None when Redis does not have it. Raises RecordsUnavailable."""
        return self._known.get(record_key(task_id)) or await self._reads.get(task_id)

    async def close(self) -> None:
        """Lets the connection go."""
        if self._link is not None:
            await self._link.close()

    async def _fetch(self, task_ids: list[str]) -> list[Record | None]:
        if self._refused:
            return await self._records.get_many(task_ids)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                if self._link is None or self._link.closed:
                    self._link = await self._connect()
                bodies = await self._link.mget([record_key(task_id) for task_id in task_ids])
        except ResponseError as error:
            self._refused = True
            log.warning("records.not_cached", reason=str(error))
            return await self._records.get_many(task_ids)
        except (RedisError, OSError) as error:
            if self._link is not None:
                await self._link.close()
            raise RecordsUnavailable from error
        return bodies

    async def _connect(self) -> _Link:
        link = _Link(self._redis, self._records, self._known)
        await link.open()
        return link


class _Link:
    """One tracking connection. `known` holds records by key for as long as it lives, and is emptied when it dies."""

    def __init__(self, redis: Redis, records: Records, known: dict[str, Record]) -> None:
        pool = redis.connection_pool
        self._connection: Any = pool.connection_class(**{**pool.connection_kwargs, "protocol": 3})
        self._records, self._known = records, known
        self._awaited: deque[tuple[list[str], asyncio.Future[Any]]] = deque()
        self._tasks: list[asyncio.Task[None]] = []
        self.closed = False

    async def open(self) -> None:
        """Connects and begins to listen. Raises ResponseError when the server refuses tracking, and RedisError."""
        await self._connection.connect()
        parser: Any = self._connection._parser
        parser.set_invalidation_push_handler(self._on_invalidated)
        await self._connection.send_command("CLIENT", "TRACKING", "ON")
        try:
            await self._connection.read_response()
        except ResponseError:
            await self._connection.disconnect(nowait=True)
            raise
        self._tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._probe())]

    async def mget(self, keys: list[str]) -> list[Record | None]:
        """Records by key, remembered as far as they exist. Raises RedisError, OSError."""
        found: list[Record | None] = await self._ask(keys, "MGET", *keys)
        return found

    async def close(self) -> None:
        """Forgets everything, then disconnects."""
        self._die(ConnectionError("closed"))
        for task in self._tasks:
            task.cancel()
        with contextlib.suppress(RedisError, OSError):
            await self._connection.disconnect(nowait=True)

    async def _ask(self, keys: list[str], *command: str) -> Any:
        if self.closed:
            raise ConnectionError("closed")
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._awaited.append((keys, answer))
        await self._connection.send_command(*command)
        return await answer

    async def _listen(self) -> None:
        """Reads replies in the order they were asked for; invalidations between them go to `_on_invalidated`."""
        try:
            while True:
                reply = await self._connection.read_response(timeout=math.inf)
                keys, answer = self._awaited.popleft()
                value = self._remembered(keys, reply) if keys else reply
                if not answer.done():
                    answer.set_result(value)
        except Exception as error:  # whatever ended it, nothing in memory can be vouched for any more
            self._die(error)

    async def _probe(self) -> None:
        while True:
            await asyncio.sleep(PROBE_SECONDS)
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    await self._ask([], "PING")
            except (RedisError, OSError) as error:
                self._die(error)
                return

    async def _on_invalidated(self, push: list[Any]) -> None:
        if push[1] is None:  # everything: the database was flushed
            self._known.clear()
        for key in push[1] or ():
            self._known.pop(key.decode() if isinstance(key, bytes) else key, None)

    def _remembered(self, keys: list[str], bodies: list[bytes | None]) -> list[Record | None]:
        records = [None if body is None else self._records.decode(body) for body in bodies]
        if self.closed:
            return records
        if len(self._known) > MOST_RECORDS:
            self._known.clear()
        self._known.update({key: record for key, record in zip(keys, records, strict=True) if record is not None})
        return records

    def _die(self, error: Exception) -> None:
        self.closed = True
        self._known.clear()
        while self._awaited:
            _, answer = self._awaited.popleft()
            if not answer.done():
                answer.set_exception(ConnectionError(str(error)))
                answer.exception()  # seen: whoever waited may have left
