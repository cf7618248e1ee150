"""The parts a process of Moorage works with, opened together and closed together."""

from __future__ import annotations

import msgspec
from redis.asyncio import Redis

from tasks.catalog.engine import Catalog
from tasks.clock import Clock, SystemClock
from tasks.dispatch import Dispatcher
from tasks.leases import LeaseKeeper
from tasks.records import Records
from tasks.redis_address import async_client
from tasks.settings import TaskSettings
from tasks.staging import Staging
from tasks.stores.factory import create as create_store
from tasks.stores.protocol import ContentStore

REDIS_TIMEOUT_SECONDS = 2.0
"""Longest wait for an answer of Redis; a poller would rather hear that it is away."""


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a request or a task needs, bound to one event loop."""

    settings: TaskSettings
    clock: Clock
    redis: Redis
    broker: Redis
    catalog: Catalog
    records: Records
    dispatcher: Dispatcher
    leases: LeaseKeeper
    staging: Staging
    store: ContentStore

    @classmethod
    async def open(cls, settings: TaskSettings, clock: Clock | None = None) -> Parts:
        """Opens them all. Nothing is asked of Redis yet; the store and the staging folder must be there to use."""
        clock = clock or SystemClock()
        redis = connect(settings.redis_url)
        broker_url = settings.broker_url or settings.redis_url
        broker = redis if broker_url == settings.redis_url else connect(broker_url)
        catalog = Catalog(settings.effective_database_url)
        records = Records(redis, settings.record_ttl_seconds)
        store = create_store(settings)
        staging = Staging(settings.staging_folder)
        await staging.open()
        await store.open()
        return cls(
            settings=settings,
            clock=clock,
            redis=redis,
            broker=broker,
            catalog=catalog,
            records=records,
            dispatcher=Dispatcher(broker, redis, records, clock),
            leases=LeaseKeeper(catalog, clock, settings.lease_seconds),
            staging=staging,
            store=store,
        )

    async def close(self) -> None:
        """Closes them all."""
        await self.leases.close()
        await self.store.close()
        await self.catalog.close()
        await self.redis.aclose()
        if self.broker is not self.redis:
            await self.broker.aclose()


def connect(redis_url: str) -> Redis:
    """A client of whom short deadlines are asked."""
    return async_client(redis_url, REDIS_TIMEOUT_SECONDS)
