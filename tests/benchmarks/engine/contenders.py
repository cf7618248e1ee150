"""Who is measured: command lines as the engines' own pages advise them, every log at the same level into a file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.benchmarks.engine import environments
from tests.benchmarks.engine.backlogs import ArqBacklog, Backlog, CeleryBacklog, DramatiqBacklog, TaskiqBacklog

OUR_POOL: dict[str, Any] = {"worker_pool": "tasks.pool:AsyncioPool"}
OUR_TRANSPORT: dict[str, Any] = {"broker_transport": "tasks.transport:Transport"}
SHORT_TASKS: dict[str, Any] = {"worker_prefetch_multiplier": 64}
"""What Celery's page on optimizing advises for many short tasks."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Contender:
    """A worker's command line and environment, the task it is given, and a few seconds' worth of messages."""

    name: str
    peer: str
    words: tuple[str, ...]
    messages: int
    task: str = "noop"
    variables: Mapping[str, str] = field(default_factory=dict)

    def command(self, number: int = 1) -> list[str]:
        """What to run, as the worker with this number."""
        words = (word.replace("{number}", str(number)) for word in self.words)
        return [str(environments.interpreter(self.peer)), "-m", *words]

    def backlog(self) -> Backlog:
        """Its queue."""
        return BACKLOGS[self.peer]


BACKLOGS: dict[str, Backlog] = {
    "celery": CeleryBacklog(),
    "moorage": CeleryBacklog("upkeep"),
    "dramatiq": DramatiqBacklog(),
    "taskiq": TaskiqBacklog(),
    "arq": ArqBacklog(),
}


def celery(name: str, *options: str, messages: int, task: str = "noop", **settings: Any) -> Contender:
    """A plain Celery worker with these settings."""
    words = ("celery", "-A", "tests.benchmarks.engine.peers.celery_app", "--quiet", "worker", "-l", "WARNING")
    quiet = ("--without-gossip", "--without-mingle", "-n", "engine{number}@%h")
    return Contender(
        name=name,
        peer="celery",
        words=(*words, *quiet, *options),
        messages=messages,
        task=task,
        variables={"ENGINE_CELERY": json.dumps(settings)},
    )


def dramatiq(name: str, *options: str, messages: int, task: str = "noop", **variables: str) -> Contender:
    """A Dramatiq worker."""
    words = ("dramatiq", "tests.benchmarks.engine.peers.dramatiq_app", *options)
    return Contender(name=name, peer="dramatiq", words=words, messages=messages, task=task, variables=variables)


STOCK_PREFORK = celery("stock Celery, prefork -c2", "-P", "prefork", "-c", "2", messages=4_000, **SHORT_TASKS)
STOCK_THREADS = celery("stock Celery, threads -c8", "-P", "threads", "-c", "8", messages=4_000, **SHORT_TASKS)
POOL_ALONE = celery("stock transport, our pool", messages=4_000, task="noop_async", **OUR_POOL)
TRANSPORT_PREFORK = celery(
    "our transport, prefork -c2", "-P", "prefork", "-c", "2", messages=12_000, **SHORT_TASKS, **OUR_TRANSPORT
)
OURS = celery("our pool and transport", messages=20_000, task="noop_async", **OUR_POOL, **OUR_TRANSPORT)
DRAMATIQ_8 = dramatiq("Dramatiq -p1 -t8", "-p", "1", "-t", "8", messages=15_000)
DRAMATIQ_64 = dramatiq("Dramatiq -p1 -t64", "-p", "1", "-t", "64", messages=15_000)
PROMETHEUS = {"ENGINE_PROMETHEUS": "1"}
DRAMATIQ_PROMETHEUS_8 = dramatiq("Dramatiq -t8, Prometheus, INFO", "-p", "1", "-t", "8", messages=15_000, **PROMETHEUS)
DRAMATIQ_PROMETHEUS_64 = dramatiq(
    "Dramatiq -t64, Prometheus, INFO", "-p", "1", "-t", "64", messages=15_000, **PROMETHEUS
)
TASKIQ = Contender(
    name="Taskiq, Redis streams",
    peer="taskiq",
    words=(
        *("taskiq", "worker", "--workers", "1", "--log-level", "WARNING"),
        "tests.benchmarks.engine.peers.taskiq_app:broker",
    ),
    messages=10_000,
)
ARQ = Contender(
    name="arq",
    peer="arq",
    words=("arq", "tests.benchmarks.engine.peers.arq_app.WorkerSettings"),
    messages=6_000,
)
MOORAGE = Contender(
    name="a Moorage actor, INFO, metrics, records",
    peer="moorage",
    words=(
        *("celery", "-A", "tests.benchmarks.engine.peers.moorage_app", "--quiet", "worker", "-Q", "upkeep"),
        *("--without-gossip", "--without-mingle"),
    ),
    messages=10_000,
    variables={"MOORAGE_LOG_LEVEL": "info", "MOORAGE_LOG_FORMAT": "json"},
)
