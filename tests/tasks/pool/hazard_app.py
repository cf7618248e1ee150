"""A Celery application whose tasks harm their process, with the asyncio pool and the lossless transport.

What they do they write to lists in the broker's database.
"""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any, NoReturn

from billiard.exceptions import SoftTimeLimitExceeded
from celery import Celery, Task
from redis import Redis

from tasks import transport
from tasks.pool import recycling
from tasks.redis_address import celery_url

transport.install()
recycling.LEAST_LIFE_SECONDS = float(os.environ.get("HAZARD_LEAST_LIFE_SECONDS", "60"))

URL = os.environ.get("HAZARD_BROKER", "redis://127.0.0.1:1/0")

app = Celery("hazard", broker=celery_url(URL), backend=celery_url(URL))
app.conf.update(
    worker_pool="tasks.pool:AsyncioPool",
    asyncio_pool_application="tests.tasks.pool.hazard_app:app",
    asyncio_pool_processes=2,
    asyncio_pool_recycle_grace_seconds=float(os.environ.get("HAZARD_GRACE_SECONDS", "300")),
    broker_transport_options={"lease_seconds": 1.0},
    broker_connection_retry_on_startup=True,
    task_acks_late=True,
    task_track_started=True,
    worker_max_tasks_per_child=int(os.environ.get("HAZARD_MAX_TASKS", "0")) or None,
)


def diary() -> Redis:
    """Where the tasks write down what they do."""
    return Redis.from_url(URL)


def losses_of(task: Task[Any, Any]) -> int:
    """How often a holder of this message has died."""
    return int(getattr(task.request, "x-losses", None) or 0)


def die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


class Mourned(Task[Any, Any]):
    """Writes down what has killed its process alone; may fail at first."""

    def on_killed_alone(self, request: dict[str, Any], exit_code: int) -> None:
        with diary() as redis:
            redis.rpush("mourned", f"{request['id']} {exit_code}")
            if redis.decr("mourning_fails") >= 0:
                raise ConnectionError("the catalog is away")


@app.task(base=Mourned, bind=True)
async def poison(task: Task[Any, Any], company: int = 0) -> None:
    """Kills its process, as soon as all of its company has begun."""
    with diary() as redis:
        redis.rpush("poisoned", f"{losses_of(task)} in {os.getpid()}")
        while losses_of(task) < 2 and redis.scard(f"begun-after-{losses_of(task)}") < company:
            await asyncio.sleep(0.01)
    die()


@app.task(reject_on_worker_lost=True)
def stubborn_poison() -> None:
    """Kills its process and would be run again by Celery for ever."""
    with diary() as redis:
        redis.incr("stubborn")
    die()


@app.task(bind=True)
async def neighbour(task: Task[Any, Any], patience: int) -> str:
    """Waits to be killed with its worker so many times, and then is done."""
    with diary() as redis:
        redis.sadd(f"begun-after-{losses_of(task)}", str(task.request.id))
    if losses_of(task) < patience:
        await asyncio.sleep(60)
    return f"{losses_of(task)} in {os.getpid()}"


@app.task(bind=True)
async def gate(task: Task[Any, Any], name: str) -> int:
    """Says that it has begun, and ends when the test opens the gate."""
    with diary() as redis:
        redis.rpush(f"at-{name}", os.getpid())
        while not redis.exists(f"open-{name}"):
            await asyncio.sleep(0.01)
    return os.getpid()


@app.task(runs_in="process", bind=True)
def spin(task: Task[Any, Any]) -> str:
    """Keeps a core busy until its time is up."""
    with diary() as redis:
        redis.rpush("spinning", os.getpid())
    try:
        while True:
            pass
    except SoftTimeLimitExceeded:
        return "tidied up"


@app.task(runs_in="process")
def dies_once() -> str:
    """Kills its child process the first time."""
    with diary() as redis:
        if redis.incr("deaths") == 1:
            die()
    return "second time"


@app.task(runs_in="process", reject_on_worker_lost=True)
def dies_once_and_comes_back() -> str:
    """The same, and asks Celery to have it run again."""
    answer: str = dies_once.run()
    return answer


@app.task
async def count(number: int) -> None:
    """Writes its number down."""
    await asyncio.sleep(0.01)
    with diary() as redis:
        redis.rpush("counted", number)


@app.task(bind=True)
async def long(task: Task[Any, Any]) -> str:
    """Lasts for ever in the first worker and not at all in the next."""
    with diary() as redis:
        if redis.incr("long-starts") > 1:
            return f"handed back after {losses_of(task)} losses"
    await asyncio.sleep(60)
    return "not handed back"
