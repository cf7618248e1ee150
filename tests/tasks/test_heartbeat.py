from __future__ import annotations

import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from celery.worker import state
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from tasks.clock import ManualClock, SystemClock
from tasks.errors import RecordsUnavailable
from tasks.heartbeat import (
    ALIVE_SECONDS,
    FORGOTTEN_SECONDS,
    WORKERS_KEY,
    ActiveTask,
    Heartbeat,
    WorkerSign,
    is_alive,
    read_signs,
)
from tasks.parts import connect
from tests.real_valkey import RealValkey
from tests.waiting import eventually


class Request:
    """A request as Celery's worker keeps it, with what the sign reads of it."""

    def __init__(self, **fields: object) -> None:
        self.__dict__ |= fields


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[AsyncRedis]:
    client = connect(redis_url)
    yield client
    await client.aclose()


@pytest.fixture
def running() -> Iterator[Any]:
    """Lets the worker run a request."""
    kept: list[Request] = []

    def run(task_id: str, **headers: object) -> None:
        kept.append(Request(id=task_id, name="add", request_dict=headers))
        state.active_requests.add(kept[-1])

    yield run
    state.active_requests.clear()


def beating(redis_url: str, is_consuming: Callable[[], bool] = lambda: True) -> Heartbeat:
    return Heartbeat(Redis.from_url(redis_url), "w@host", ("upload",), SystemClock(), is_consuming)


async def test_a_worker_says_what_it_consumes_and_runs_until_it_stops(
    redis: AsyncRedis, redis_url: str, running: Any
) -> None:
    running("t", moorage_context={"owner_id": "ann"})
    heartbeat = beating(redis_url)
    heartbeat.start()

    async def signs() -> list[WorkerSign]:
        return await read_signs(redis, SystemClock().now())

    [sign] = await eventually(signs)
    assert (sign.hostname, sign.queues, sign.active) == ("w@host", ("upload",), (ActiveTask("t", "add", "ann"),))
    assert is_alive(sign, SystemClock().now())
    heartbeat.stop()
    assert not heartbeat.is_alive()
    assert await signs() == [], "a clean stop is no alarm"


@pytest.mark.parametrize("context", [None, "text", 7, [], {"owner_id": 7}, {"owner_id": None}])
async def test_whatever_a_message_claims_to_be_its_context_the_sign_can_be_read(
    redis: AsyncRedis, redis_url: str, running: Any, context: object
) -> None:
    running("t", moorage_context=context)
    heartbeat = beating(redis_url)
    heartbeat.start()
    [sign] = await eventually(lambda: read_signs(redis, SystemClock().now()))
    assert sign.active == (ActiveTask("t", "add", ""),)
    heartbeat.stop()


@pytest.fixture
def hasty_threads() -> Iterator[None]:
    """Threads that take turns as often as they can, so that they meet in the middle of things."""
    usual_seconds = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual_seconds)


@pytest.mark.usefixtures("hasty_threads")
def test_tasks_that_come_and_go_while_a_sign_is_written_do_not_silence_it(redis_url: str, running: Any) -> None:
    heartbeat, stop = beating(redis_url), threading.Event()
    errors: list[BaseException] = []

    def sign() -> None:
        try:
            while not stop.is_set():
                heartbeat._sign()
        except BaseException as error:
            errors.append(error)

    for number in range(50):
        running(f"t{number}")
    signing = threading.Thread(target=sign)
    signing.start()
    for _ in range(20_000):
        request = Request(id="t", name="add", request_dict={})
        state.active_requests.add(request)
        state.active_requests.discard(request)
    stop.set()
    signing.join()
    assert errors == []


async def test_a_worker_that_takes_no_messages_names_no_queues(redis: AsyncRedis, redis_url: str) -> None:
    heartbeat = beating(redis_url, lambda: False)
    heartbeat.start()
    [sign] = await eventually(lambda: read_signs(redis, SystemClock().now()))
    assert sign.queues == ()
    heartbeat.stop()


async def test_a_worker_beats_on_when_the_server_is_back(own_valkey: RealValkey) -> None:
    heartbeat, redis = beating(own_valkey.url()), connect(own_valkey.url())
    own_valkey.kill()
    heartbeat.start()
    with pytest.raises(RecordsUnavailable):
        await read_signs(redis, 0.0)
    own_valkey.start()
    assert await eventually(lambda: read_signs(redis, SystemClock().now()))
    heartbeat.stop()
    await redis.aclose()


async def test_who_falls_silent_is_down_for_an_hour_and_then_forgotten(redis: AsyncRedis, redis_url: str) -> None:
    clock = ManualClock()
    heartbeat = Heartbeat(Redis.from_url(redis_url), "w@host", (), clock, lambda: True)
    heartbeat.start()
    [sign] = await eventually(lambda: read_signs(redis, clock.now()))
    heartbeat._stopping.set()  # as if it had been killed
    heartbeat.join()
    assert is_alive(sign, clock.now() + ALIVE_SECONDS)
    assert not is_alive(sign, clock.now() + ALIVE_SECONDS + 0.1)
    assert await read_signs(redis, clock.now() + FORGOTTEN_SECONDS) == [sign]
    assert await read_signs(redis, clock.now() + FORGOTTEN_SECONDS + 1) == []
    assert await redis.hlen(WORKERS_KEY) == 0
