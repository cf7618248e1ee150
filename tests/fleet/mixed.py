"""A stock Celery worker and one of ours that consume the same queues, and what each of them says it did."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from celery.app.control import Control, Inspect

from tests.waiting import eventually
from tests.weather.fleet import Ledger, Worker, send, worker
from tests.weather.generic_app import Setup, build
from tests.weather.servers import Server

REPLY_SECONDS = 3.0


@dataclass
class Fleet:
    """The two workers, and how a process of either kind is set up to speak with them."""

    lossless: Setup
    stock: Setup
    ours: Worker
    theirs: Worker
    ledger: Ledger

    def hosts(self) -> set[str]:
        """The workers' names in full."""
        return {f"{self.ours.name}@here", f"{self.theirs.name}@here"}

    def control(self) -> Control:
        """Celery's remote control, through stock kombu."""
        return build(self.stock).control

    async def asked(self, question: str, **options: Any) -> dict[str, Any]:
        """What both workers answer to an inspection."""

        def ask() -> dict[str, Any]:
            inspect: Inspect = self.control().inspect(timeout=REPLY_SECONDS, limit=2)
            return dict(getattr(inspect, question)(**options) or {})

        answers = await asyncio.to_thread(ask)
        assert answers.keys() == self.hosts(), f"{question}: only {sorted(answers)} answered"
        return answers

    async def shares(self) -> dict[str, int]:
        """How many tasks each worker has accepted."""
        return {host: sum(stats["total"].values()) for host, stats in (await self.asked("stats")).items()}

    async def publish(self, numbers: range, **options: Any) -> None:
        """Every other message through stock kombu."""
        await send(self.lossless, numbers[::2], **options)
        await send(self.stock, numbers[1::2], **options)


@asynccontextmanager
async def mixed_fleet(server: Server, ledger: Ledger, folder: Path, prefix: str = "") -> AsyncIterator[Fleet]:
    """Both workers, ready, with events on."""
    options = {"global_keyprefix": prefix, "visibility_timeout": 3_600}
    lossless = Setup(broker=server.url(), ledger=ledger.url, options=options)
    stock = replace(lossless, lossless=False, pool="prefork")
    async with AsyncExitStack() as stack:
        theirs = await stack.enter_async_context(worker(stock, folder, "-E", "-c", "2", ready=False))
        ours = await stack.enter_async_context(worker(lossless, folder, "-E"))
        await theirs.says(r"ready\.")
        fleet = Fleet(lossless, stock, ours, theirs, ledger)
        await eventually(lambda: fleet.asked("ping"))
        yield fleet
