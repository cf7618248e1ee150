"""Keeps the leases of the tasks that run in this process, all of them with one statement every third of the term."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from tasks.catalog import tasks as rows
from tasks.catalog.engine import Catalog
from tasks.clock import Clock
from tasks.errors import CatalogUnavailable, DiskFull

log = structlog.get_logger(__name__)


class Lease:
    """One task's lease. `lost` says that another worker has the task now."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.lost = False
        self.holder = asyncio.current_task()


class LeaseKeeper:
    """Renews leases in the background for as long as any is held."""

    def __init__(self, catalog: Catalog, clock: Clock, lease_seconds: float) -> None:
        self._catalog, self._clock, self.lease_seconds = catalog, clock, lease_seconds
        self._held: dict[str, Lease] = {}
        self._renewing: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def holding(self, token: str) -> AsyncIterator[Lease]:
        """Keeps `token` alive inside the block, whose task is cancelled when the lease turns out to be lost."""
        lease = self._held[token] = Lease(token)
        if self._renewing is None or self._renewing.done():
            self._renewing = asyncio.create_task(self._renew_until_idle())
        try:
            yield lease
        finally:
            del self._held[token]

    async def close(self) -> None:
        """Stops renewing."""
        if self._renewing is not None:
            self._renewing.cancel()

    async def renew(self) -> None:
        """Renews what is held, once, and cancels the holders of what was lost."""
        held = dict(self._held)
        async with self._catalog.write() as transaction:
            alive = await rows.renew(transaction, held, self._clock.now() + self.lease_seconds)
        for token in held.keys() - alive:
            lease = self._held.get(token)  # a task that finished meanwhile holds it no more, and has lost nothing
            if lease is not None and not lease.lost:
                lease.lost = True
                if lease.holder is not None:
                    lease.holder.cancel()

    async def _renew_until_idle(self) -> None:
        while self._held:
            await asyncio.sleep(self.lease_seconds / 3)
            try:
                if self._held:
                    await self.renew()
            except (CatalogUnavailable, DiskFull) as error:  # the conditional SUCCESS decides; until then keep trying
                log.warning("lease.not_renewed", tasks=len(self._held), reason=type(error).__name__)
