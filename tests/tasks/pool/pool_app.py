"""The tasks that the tests of the pool run in real workers: each shows one thing that bodies do."""

from __future__ import annotations

import asyncio
import contextvars
import os
import time
from collections.abc import AsyncIterator
from typing import Any

from billiard.exceptions import SoftTimeLimitExceeded
from celery import Task, current_task
from celery.exceptions import Ignore, Reject

from tasks.pool.run import Ended
from tests.tasks.pool.pool_base import app, note, notes, read_notes

SHORTLY: Any = 0.2
"""Seconds; the stubs of Celery want them whole."""

color: contextvars.ContextVar[str] = contextvars.ContextVar("color", default="none")


@app.task
async def add(x: int, y: int) -> int:
    await asyncio.sleep(0)
    return x + y


@app.task
def plain_add(x: int, y: int) -> int:
    return x + y


@app.task
async def total(numbers: list[int]) -> int:
    await asyncio.sleep(0)
    return sum(numbers)


@app.task(bind=True)
async def identity(self: Task[Any, Any], wait_for: str) -> list[Any]:
    """Meets the others of its kind, and says who it is before and after."""
    before = [self.request.id, current_task.request.id, identity.request.id]
    note(wait_for, self.request.id)
    while len(read_notes(wait_for)) < 5:
        await asyncio.sleep(0.01)
    in_thread = await asyncio.to_thread(lambda: identity.request.id)
    in_child = await asyncio.create_task(_own_id())
    return [*before, self.request.id, current_task.request.id, in_thread, in_child]


async def _own_id() -> str | None:
    await asyncio.sleep(0)
    return current_task.request.id


@app.task
async def paint(name: str, meet: str) -> list[str]:
    """Sets a context variable and looks at it after others have set theirs, here and in a thread."""
    seen = [color.get()]
    color.set(name)
    note(meet, name)
    while len(read_notes(meet)) < 3:
        await asyncio.sleep(0.01)
    return [*seen, color.get(), await asyncio.to_thread(color.get)]


@app.task(bind=True, max_retries=2)
async def retries(self: Task[Any, Any], fail: int) -> str:
    note(self.request.id, self.request.retries)
    if self.request.retries < fail:
        raise self.retry(exc=ValueError("again"), countdown=0.05)
    return f"after {self.request.retries}"


@app.task(bind=True, autoretry_for=(OSError,), retry_backoff=1, retry_jitter=False, max_retries=3)
async def autoretries(self: Task[Any, Any], fail: int) -> int:
    note(self.request.id, time.time())
    await asyncio.sleep(0)
    if self.request.retries < fail:
        raise ConnectionError
    return self.request.retries


@app.task(bind=True)
async def rejects(self: Task[Any, Any], requeue: bool) -> str:
    note(self.request.id, "begun")
    await asyncio.sleep(0)
    if len(read_notes(self.request.id)) > 1:
        return "second time"
    raise Reject("no", requeue=requeue)


@app.task(bind=True)
async def ignores(self: Task[Any, Any]) -> None:
    await asyncio.sleep(0)
    note(self.request.id, "ran")
    raise Ignore


@app.task
async def fails() -> None:
    await asyncio.sleep(0)
    raise ValueError("wrong")


@app.task(acks_on_failure=False)
async def fails_unacknowledged() -> None:
    raise ValueError("wrong")


class Unpicklable(Exception):
    def __init__(self, needed: str, also: str) -> None:
        super().__init__(needed)
        self.lock = asyncio.Lock()

    def __reduce__(self) -> Any:
        raise TypeError("does not pickle")


@app.task
async def fails_unpicklably() -> None:
    raise Unpicklable("a", "b")


@app.task
async def returns_what_is_no_json() -> object:
    return object()


@app.task
async def raises_base(name: str) -> None:
    await asyncio.sleep(0)
    kinds = {"SystemExit": SystemExit(3), "KeyboardInterrupt": KeyboardInterrupt()}
    raise kinds.get(name) or asyncio.CancelledError("mine")


@app.task
def raises_base_in_thread(name: str) -> None:
    raise {"SystemExit": SystemExit(3), "KeyboardInterrupt": KeyboardInterrupt()}[name]


@app.task
async def spawns_what_exits() -> str:
    async def leave() -> None:
        raise SystemExit(4)

    task = asyncio.create_task(leave())
    await asyncio.wait([task])
    return "still here"


@app.task(bind=True)
async def sleeps(self: Task[Any, Any], seconds: float = 60.0, cleanup_seconds: float = 0.05) -> str:
    """Sleeps, and notes how it ends; its `finally` awaits."""
    note(self.request.id, "begun")
    try:
        await asyncio.sleep(seconds)
    except BaseException as error:
        note(self.request.id, type(error).__name__, time.time())
        raise
    finally:
        await asyncio.sleep(cleanup_seconds)
        note(self.request.id, "cleaned up")
    return "slept"


@app.task(bind=True)
def sleeps_in_thread(self: Task[Any, Any], seconds: float = 60.0) -> str:
    """Sleeps in small steps, so that it can be interrupted, and notes how it ends."""
    note(self.request.id, "begun")
    try:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(0.01)
    except BaseException as error:
        note(self.request.id, type(error).__name__, time.time())
        raise
    return "slept"


@app.task(bind=True)
def holds_a_thread(self: Task[Any, Any], gate: str) -> str:
    """Blocks its thread in one call until the test opens the gate. An end that comes before that call is not heard."""
    while True:
        try:
            note(self.request.id, "begun")
            notes().blmove(f"gate:{gate}", f"gate:{gate}", timeout=30)  # leaves it open
            return "held"
        except Ended:
            continue


@app.task(soft_time_limit=SHORTLY)
async def catches_soft_limit() -> str:
    try:
        await asyncio.sleep(60)
    except SoftTimeLimitExceeded:
        await asyncio.sleep(0.01)
        return "caught"
    return "not limited"


@app.task(soft_time_limit=SHORTLY)
def catches_soft_limit_in_thread() -> str:
    try:
        while True:
            time.sleep(0.01)
    except SoftTimeLimitExceeded:
        return "caught"


@app.task(bind=True, soft_time_limit=SHORTLY)
async def limits_a_group(self: Task[Any, Any]) -> str:
    async def child() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            note(self.request.id, "child ended")

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(child())
            group.create_task(child())
    except SoftTimeLimitExceeded:
        task = asyncio.current_task()
        assert task is not None
        return f"caught, {task.cancelling()} cancellations left"
    return "not limited"


@app.task(soft_time_limit=SHORTLY)
async def ends_by_soft_limit() -> None:
    await asyncio.sleep(60)


@app.task
async def times_out_inside() -> str:
    try:
        async with asyncio.timeout(0.05):
            await asyncio.sleep(60)
    except TimeoutError:
        await asyncio.sleep(0.01)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(60))
            raise LookupError
    except* LookupError:
        pass
    return "went on"


@app.task(bind=True)
async def swallows_cancellation(self: Task[Any, Any], times: int) -> str:
    note(self.request.id, "begun")
    for _ in range(times):
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            note(self.request.id, "swallowed")
    return "survived"


@app.task(bind=True)
async def leaves_a_generator(self: Task[Any, Any]) -> int:
    own_id = self.request.id

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0)
            note(own_id, "closed")

    async for number in numbers():
        return number
    return 0


@app.task(bind=True)
async def reports_progress(self: Task[Any, Any]) -> str:
    self.update_state(state="PROGRESS", meta={"percent": 50})
    while not notes().exists(f"seen:{self.request.id}"):
        await asyncio.sleep(0.01)
    return "done"


@app.task
async def sends_another(x: int) -> str:
    return add.delay(x, 1).id


@app.task
async def calls_another(x: int) -> list[int]:
    """Calls a task as a function, as Celery's documentation shows, and eagerly."""
    eager: Any = add.apply((x, 2)).result
    return [await add(x, 1), eager]


@app.task(bind=True)
async def replaces(self: Task[Any, Any], x: int) -> None:
    raise self.replace(add.s(x, 100))


@app.task
async def gets_a_result(x: int) -> int:
    return int(add.delay(x, 1).get(timeout=1))


@app.task
async def blocks_the_loop(seconds: float) -> str:
    time.sleep(seconds)
    return "blocked"


@app.task(rate_limit="10/s")
async def is_rate_limited() -> float:
    return time.time()


@app.task(runs_in="process")
def runs_in_a_process() -> int:
    return os.getpid()


@app.task(runs_in="process")
async def awaits_in_a_process() -> int:
    await asyncio.sleep(0)
    return os.getpid()


@app.task
async def knows_no_place() -> None:
    """Cannot be run once `misplaces` has run."""


@app.task
async def misplaces() -> None:
    knows_no_place.runs_in = "proces"  # type: ignore[attr-defined]  # an attribute of the pool's


@app.task
async def own_pid() -> int:
    return os.getpid()


@app.task(runs_in="loop")
def awaits_from_plain_code() -> str:
    """Plain code on the loop, which waits for a coroutine as a result backend may."""
    from tasks.pool import await_, in_trace

    assert in_trace()
    return await_(asyncio.sleep(0.01, "awaited"))
