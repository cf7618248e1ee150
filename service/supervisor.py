"""Keeps the parts of `moorage up` alive: starts them, restarts what dies, says so, and stops all of them in order.

    keep(child) ─▶ started ─▶ dies ─▶ waits (restart_policy) ─▶ started …
                      │         └─ five times before it ever worked ─▶ NeverReady: everything stops
                      ├─ recycles itself ─▶ started at once …
                    stop() ─▶ signal ─▶ deadline or a second stop() ─▶ killed with its session

A kept child has one task that alone starts, waits for, stops and kills it: nothing else touches its process.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine
from itertools import groupby
from typing import Any, NamedTuple

from service.children import REMEMBERED_LINES, Child, RunningChild, describe_exit, start
from service.log_stream import LogStream
from service.restart_policy import (
    STEADY_LIFE_SECONDS,
    deaths_in_a_row,
    is_futile,
    is_planned,
    restart_delay_seconds,
)
from tasks.clock import Clock

READY_POLL_SECONDS = 0.05


class NeverReady(Exception):
    """A child did not come up: it kept dying, or was not ready in time. `last_lines` is what it said last."""

    def __init__(self, name: str, reason: str, last_lines: list[str]) -> None:
        self.name, self.reason, self.last_lines = name, reason, last_lines
        super().__init__(f"{name} does not come up: {reason}")


class _Ended(NamedTuple):
    """What ended a life of a child."""

    reason: str
    exit_code: int | None = None


class _Kept:
    """A child together with what is known of its lives so far."""

    def __init__(self, child: Child) -> None:
        self.child = child
        self.has_worked = False
        self.stop = asyncio.Event()
        self.running = asyncio.Event()
        self.last_lines: deque[bytes] = deque(maxlen=REMEMBERED_LINES)
        self.task: asyncio.Task[None] | None = None

    def never_ready(self, reason: str) -> NeverReady:
        lines = [line.decode(errors="replace") for line in self.last_lines]
        return NeverReady(self.child.name, reason, lines)


class Supervisor:
    """Runs children until it is told to stop."""

    def __init__(self, log: LogStream, clock: Clock) -> None:
        self._log, self._clock = log, clock
        self._kept: dict[str, _Kept] = {}
        self._stop, self._hurry = asyncio.Event(), asyncio.Event()
        self._hopeless = asyncio.Event()
        self._failure: NeverReady | None = None

    async def run(self, startup: Coroutine[Any, Any, None]) -> None:
        """Runs `startup`, which keeps children and waits for them, then serves until `stop` is called.

        All children are gone when it returns. Raises NeverReady when one did not come up, and what `startup` raises.
        """
        starting = asyncio.create_task(startup)
        try:
            await _any_of(asyncio.shield(starting), self._stop.wait(), self._hopeless.wait())
            if starting.done():
                await starting
                await _any_of(self._stop.wait(), self._hopeless.wait())
        finally:
            starting.cancel()
            await asyncio.wait({starting})
            await self._stop_all()
        if self._failure:
            raise self._failure

    def stop(self) -> None:
        """Asks for an orderly stop; asked a second time, nobody is waited for any more."""
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()

    def keep(self, child: Child) -> None:
        """Starts the child and from now on keeps it alive."""
        kept = self._kept[child.name] = _Kept(child)
        kept.task = asyncio.create_task(self._keep_alive(kept), name=child.name)

    async def ready(self, name: str) -> None:
        """Waits until the kept child is ready for the first time. Raises NeverReady past its deadline."""
        kept, asked_at = self._kept[name], self._clock.monotonic()
        check, deadline_seconds = kept.child.is_ready, kept.child.ready_seconds
        try:
            async with asyncio.timeout(deadline_seconds):
                await kept.running.wait()  # or the check might be answered by somebody left from an earlier run
                while check and not await check():  # noqa: ASYNC110 - it sends no event
                    await asyncio.sleep(READY_POLL_SECONDS)
        except TimeoutError:
            raise kept.never_ready(f"it was not ready after {deadline_seconds:.0f} s") from None
        kept.has_worked = True
        self._log.say(f"{name} is ready after {self._clock.monotonic() - asked_at:.1f} s", child=name)

    async def _keep_alive(self, kept: _Kept) -> None:
        deaths = 0
        while not kept.stop.is_set():
            started_at = self._clock.monotonic()
            ended = await self._live_once(kept, deaths)
            if kept.stop.is_set():
                return
            lived_seconds = self._clock.monotonic() - started_at
            if is_planned(ended.exit_code, kept.child.recycle_code, lived_seconds):
                self._log.say(f"{kept.child.name} recycles itself and is started again", child=kept.child.name)
                deaths = 0
                continue
            deaths = deaths_in_a_row(deaths, lived_seconds)
            if kept.child.is_ready is None and lived_seconds >= STEADY_LIFE_SECONDS:
                kept.has_worked = True
            if is_futile(deaths, has_worked=kept.has_worked):
                self._give_up(kept.never_ready(f"it died {deaths} times in a row ({ended.reason})"))
                return
            delay_seconds = restart_delay_seconds(deaths)
            event = f"{kept.child.name} died ({ended.reason}); restarting in {delay_seconds:.1f} s"
            self._log.say(event, "warning", child=kept.child.name, delay_seconds=delay_seconds)
            await _any_of(kept.stop.wait(), within_seconds=delay_seconds)

    async def _live_once(self, kept: _Kept, deaths: int) -> _Ended:
        """One life of the child, from its start to its end."""
        try:
            if kept.child.before_start and (event := await kept.child.before_start(deaths)):
                self._log.say(event, "warning", child=kept.child.name)
            running = await start(kept.child)
        except Exception as error:  # whatever keeps it from starting now is treated like a death: said, and tried again
            kept.last_lines.append(str(error).encode())
            return _Ended(f"could not be started: {error}")
        kept.running.set()
        ended = asyncio.create_task(running.wait(self._log.child_lines, kept.last_lines))
        await _any_of(asyncio.shield(ended), kept.stop.wait())
        if not ended.done():
            await self._end(kept.child, running, ended)
        kept.running.clear()
        exit_code = await ended
        return _Ended(describe_exit(exit_code), exit_code)

    async def _end(self, child: Child, running: RunningChild, ended: asyncio.Task[int]) -> None:
        running.ask_to_stop()
        await _any_of(asyncio.shield(ended), self._hurry.wait(), within_seconds=child.stop_seconds)
        if not ended.done():
            if not self._hurry.is_set():
                event = f"{child.name} did not stop within {child.stop_seconds:.0f} s and is killed"
                self._log.say(event, "warning", child=child.name)
            running.kill()

    async def _stop_all(self) -> None:
        def order(kept: _Kept) -> int:
            return kept.child.stop_order

        for _, together in groupby(sorted(self._kept.values(), key=order), key=order):
            stopping = list(together)
            for kept in stopping:
                kept.stop.set()
            await asyncio.gather(*(kept.task for kept in stopping if kept.task))

    def _give_up(self, error: NeverReady) -> None:
        self._failure = self._failure or error
        self._hopeless.set()


async def _any_of(*events: Coroutine[Any, Any, Any] | asyncio.Future[Any], within_seconds: float | None = None) -> None:
    """Waits until one of the events has come or the time is over."""
    waiting = [asyncio.ensure_future(event) for event in events]
    await asyncio.wait(waiting, timeout=within_seconds, return_when=asyncio.FIRST_COMPLETED)
    for future in waiting:
        future.cancel()
