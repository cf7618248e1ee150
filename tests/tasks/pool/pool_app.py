"""The tasks that the tests of the pool run in real workers: each shows one thing that bodies do.

Those that last until something ends them are in `pool_lasting.py`.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import time
from collections.abc import AsyncIterator
from typing import Any

from celery import Task, current_task
from celery.exceptions import Ignore, Reject

from tests.tasks.pool import pool_lasting  # noqa: F401 - the worker is to have its tasks, too
from tests.tasks.pool.pool_base import app, note, notes, read_notes

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
