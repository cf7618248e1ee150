"""Tasks of the pool's tests that last until something ends them: a limit, a revoke, a shutdown, or the test itself."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from billiard.exceptions import SoftTimeLimitExceeded
from celery import Task

from tasks.pool.run import Ended
from tests.tasks.pool.pool_base import app, note, notes

SHORTLY: Any = 0.2
"""Seconds; the stubs of Celery want them whole."""


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


@app.task(bind=True)
async def swallows_cancellation(self: Task[Any, Any], times: int) -> str:
    note(self.request.id, "begun")
    for _ in range(times):
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            note(self.request.id, "swallowed")
    return "survived"
