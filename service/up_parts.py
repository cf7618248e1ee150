"""The children of `moorage up`, in one table: what each runs, when it stops and how long it may take.

Together the deadlines stay under the 30 s that container orchestrators give; each but the broker's has a second to
spare between what the part itself was told and the kill.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from service.broker import EmbeddedBroker
from service.children import Child
from service.restart_policy import RECYCLED
from tasks.queues import PINNING, SCHEDULE, UPKEEP, UPLOAD

API_SECONDS = 8.0
WORKER_SECONDS = 14.0
BEAT_SECONDS = 1.0
BROKER_SECONDS = 3.0
SPARE_SECONDS = 1.0

LOADING_SECONDS = 300.0
"""A broker with a long append-only file is not ready before it has read it."""
ANSWER_SECONDS = 5.0

WORKER_QUEUES = {"worker-upload": (UPLOAD,), "worker": (PINNING, UPKEEP), "worker-schedule": (SCHEDULE,)}
"""Each queue's consumer. The schedule has one to itself: no crowd of slow tasks may delay the mending of lost work."""
CONCURRENCY = {"worker-upload": ("--concurrency", str(os.cpu_count() or 1)), "worker-schedule": ("--concurrency", "2")}
"""Hashing gets a core each, and the schedule's jobs do all there is to do. Tasks of the third wait more than they work:
it runs as many as the settings say."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Everything `moorage up` has decided before it starts anything."""

    data: Path
    host: str
    port: int
    log_format: str
    shutdown_seconds: float
    """What the settings give a stopping API; capped here."""
    shutdown_grace_seconds: float
    """What the settings give a stopping worker; capped here."""
    broker: EmbeddedBroker | None
    """None when the user has a Redis or Valkey of their own."""
    environ: Mapping[str, str]

    @property
    def reachable_host(self) -> str:
        """The host under which this machine reaches the API: a wildcard is not an address."""
        return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(self.host, self.host)  # noqa: S104

    @property
    def address(self) -> str:
        """The API's address for this machine."""
        host = f"[{self.reachable_host}]" if ":" in self.reachable_host else self.reachable_host
        return f"http://{host}:{self.port}"

    def child_environ(self, name: str) -> dict[str, str]:
        """The environment of the part `name`: the user's, with what was decided on top."""
        decided = {
            "MOORAGE_ROLE": name,
            "MOORAGE_DATA": str(self.data),
            "MOORAGE_HOST": self.host,
            "MOORAGE_PORT": str(self.port),
            "MOORAGE_LOG_FORMAT": self.log_format,
            "MOORAGE_SHUTDOWN_SECONDS": str(min(self.shutdown_seconds, API_SECONDS)),
            "MOORAGE_SHUTDOWN_GRACE_SECONDS": str(min(self.shutdown_grace_seconds, WORKER_SECONDS)),
            "PYTHONUNBUFFERED": "1",
        }
        if self.broker:
            decided["REDIS_URL"] = self.broker.url
        return {**self.environ, **decided}


def broker_part(broker: EmbeddedBroker, plan: Plan) -> Child:
    """The embedded broker: started first, stopped last. Raises BrokerUnavailable."""
    return Child(
        name="broker",
        argv=broker.argv(),
        env=plan.child_environ("broker"),
        stop_order=3,
        stop_seconds=BROKER_SECONDS,
        before_start=broker.make_way,
        is_ready=broker.is_ready,
        ready_seconds=LOADING_SECONDS,
    )


def moorage_parts(plan: Plan) -> list[Child]:
    """The API, the workers and beat."""

    async def api_is_ready() -> bool:
        return await answers_well(plan.reachable_host, plan.port, "/readyz")

    async def all_is_well() -> bool:
        """`/health` counts a worker by its signs of life on every queue."""
        return await answers_well(plan.reachable_host, plan.port, "/health")

    api = Child(
        name="api",
        argv=_moorage("api"),
        env=plan.child_environ("api"),
        stop_order=0,
        stop_seconds=API_SECONDS + SPARE_SECONDS,
        is_ready=api_is_ready,
    )
    beat = Child(
        name="beat",
        argv=_moorage("beat"),
        env=plan.child_environ("beat"),
        stop_order=1,
        stop_seconds=BEAT_SECONDS + SPARE_SECONDS,
    )
    workers = [
        Child(
            name=name,
            argv=_moorage("worker", "--queues", ",".join(queues), *CONCURRENCY.get(name, ())),
            env=plan.child_environ(name),
            stop_order=2,
            stop_seconds=WORKER_SECONDS + SPARE_SECONDS,
            is_ready=all_is_well,
            recycle_code=RECYCLED,
        )
        for name, queues in WORKER_QUEUES.items()
    ]
    return [api, *workers, beat]


async def answers_well(host: str, port: int, path: str) -> bool:
    """Whether `GET path` is 200. By hand: the supervisor needs no HTTP client for one status line."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            status_line = await reader.readline()
            writer.close()
    except (OSError, TimeoutError):
        return False
    return status_line.split(b" ")[1:2] == [b"200"]


def _moorage(*words: str) -> list[str]:
    # -P: a folder named `tasks` or `service` where the user happens to stand must not be taken for ours
    return [sys.executable, "-P", "-m", "service.cli", *words]
