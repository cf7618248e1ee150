"""Signs of life of the workers: each writes what it consumes and what it runs, every two seconds, into one Redis hash.

Written from the worker's main process on a thread of its own, whatever the pool. Readers decide by age who is alive.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec
from celery.worker import state
from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from redis.exceptions import RedisError

from tasks.clock import Clock
from tasks.errors import RecordsUnavailable

if TYPE_CHECKING:
    from celery.worker.request import Request

WORKERS_KEY = "moorage:workers"
BEAT_SECONDS = 2.0
ALIVE_SECONDS = 10.0
"""A worker that was silent for longer is not counted on."""
FORGOTTEN_SECONDS = 3_600.0
"""A worker that was silent for longer is no longer shown as down."""


class ActiveTask(msgspec.Struct, frozen=True):
    """A task a worker is running."""

    task_id: str
    actor: str
    owner: str


class WorkerSign(msgspec.Struct, frozen=True, kw_only=True):
    """One worker's last sign of life; `at` in seconds since the epoch."""

    hostname: str
    queues: tuple[str, ...]
    active: tuple[ActiveTask, ...]
    at: float


class Heartbeat(threading.Thread):
    """Writes this worker's signs until it is stopped; then removes them, so that a clean stop is no alarm."""

    def __init__(
        self,
        redis: Redis,
        hostname: str,
        queues: tuple[str, ...],
        clock: Clock,
        is_consuming: Callable[[], bool],
    ) -> None:
        """While it is not `is_consuming()`, the sign names no queues: a thread beats on in a worker that is stuck."""
        super().__init__(name="moorage-heartbeat", daemon=True)
        self._redis, self._hostname, self._queues, self._clock = redis, hostname, queues, clock
        self._is_consuming = is_consuming
        self._stopping = threading.Event()

    def run(self) -> None:
        """Beats, through every outage of Redis."""
        while not self._stopping.is_set():
            with contextlib.suppress(RedisError, OSError):  # Celery's own connection says so in the log, once
                self._redis.hset(WORKERS_KEY, self._hostname, msgspec.json.encode(self._sign()))
            self._stopping.wait(BEAT_SECONDS)

    def stop(self) -> None:
        """Ends the beat."""
        self._stopping.set()
        self.join(timeout=BEAT_SECONDS)
        with contextlib.suppress(RedisError, OSError):
            self._redis.hdel(WORKERS_KEY, self._hostname)

    def _sign(self) -> WorkerSign:
        active = tuple(_active(request) for request in _requests())
        queues = self._queues if self._is_consuming() else ()
        return WorkerSign(hostname=self._hostname, queues=queues, active=active, at=self._clock.now())


async def read_signs(redis: AsyncRedis, now: float) -> list[WorkerSign]:
    """The last sign of every worker that is not forgotten yet. Raises RecordsUnavailable."""
    try:
        found: Any = await redis.hgetall(WORKERS_KEY)
        signs = [msgspec.json.decode(body, type=WorkerSign) for body in found.values()]
        forgotten = [sign.hostname for sign in signs if now - sign.at > FORGOTTEN_SECONDS]
        if forgotten:
            await redis.hdel(WORKERS_KEY, *forgotten)
    except (RedisError, OSError) as error:
        raise RecordsUnavailable from error
    return [sign for sign in signs if sign.hostname not in forgotten]


def is_alive(sign: WorkerSign, now: float) -> bool:
    """Whether the worker can be counted on."""
    return now - sign.at <= ALIVE_SECONDS


def _requests() -> list[Request]:
    """What the worker runs. Its main thread adds to the set while this one reads it, and then it must be read again."""
    while True:
        try:
            return list(state.active_requests)
        except RuntimeError:
            continue


def _active(request: Request) -> ActiveTask:
    """Whoever can reach the broker writes these headers; readers of the sign rely on their types."""
    context = request.request_dict.get("moorage_context")
    owner = context.get("owner_id") if isinstance(context, dict) else None
    return ActiveTask(request.id, request.name, owner if isinstance(owner, str) else "")
