from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from tasks.catalog import migrate
from tasks.catalog import tasks as rows
from tasks.catalog.engine import Catalog
from tasks.catalog.tasks import TaskRow
from tasks.clock import SystemClock
from tasks.leases import LeaseKeeper
from tests.waiting import eventually

NewRow = Callable[..., TaskRow]
LEASE_SECONDS = 0.3


@pytest.fixture
async def catalog(tmp_path: Path) -> AsyncIterator[Catalog]:
    opened = Catalog(f"sqlite+aiosqlite:///{tmp_path / 'catalog.sqlite'}", busy_timeout_seconds=0.05)
    await migrate.upgrade(opened)
    yield opened
    await opened.close()


@pytest.fixture
async def keeper(catalog: Catalog) -> AsyncIterator[LeaseKeeper]:
    made = LeaseKeeper(catalog, SystemClock(), LEASE_SECONDS)
    yield made
    await made.close()


async def claimed(catalog: Catalog, row: TaskRow, token: str) -> None:
    async with catalog.write() as transaction:
        await rows.add(transaction, row)
        await rows.claim(transaction, row.id, token, SystemClock().now(), LEASE_SECONDS)


async def expiry_of(catalog: Catalog, row: TaskRow) -> float:
    async with catalog.read() as connection:
        found = await rows.get(connection, row.id)
    assert found is not None
    assert found.lease_expires_at is not None
    return found.lease_expires_at


async def test_a_held_lease_does_not_run_out(catalog: Catalog, keeper: LeaseKeeper, new_row: NewRow) -> None:
    row, idle = new_row(), new_row()
    await claimed(catalog, row, "held")
    await claimed(catalog, idle, "not held")
    first, first_idle = await expiry_of(catalog, row), await expiry_of(catalog, idle)

    async def is_renewed_often() -> bool:
        return await expiry_of(catalog, row) > first + 2 * LEASE_SECONDS

    async with keeper.holding("held") as lease:
        await eventually(is_renewed_often)
        assert not lease.lost
    assert await expiry_of(catalog, idle) == first_idle


async def test_what_finished_while_its_lease_was_being_renewed_was_not_lost(
    catalog: Catalog, keeper: LeaseKeeper, new_row: NewRow
) -> None:
    row = new_row()
    await claimed(catalog, row, "mine")
    async with keeper.holding("mine") as lease, catalog.write() as lock:
        await lock.execute(text("SELECT 1"))
        renewing = asyncio.create_task(keeper.renew())
        await asyncio.sleep(0)
        await rows.succeed(lock, row.id, "mine", None, 1.0)
    await renewing
    assert not lease.lost


async def test_whoever_lost_a_lease_is_cancelled_and_nobody_else(
    catalog: Catalog, keeper: LeaseKeeper, new_row: NewRow
) -> None:
    lost, kept = new_row(), new_row()
    await claimed(catalog, lost, "lost")
    await claimed(catalog, kept, "kept")
    may_end = asyncio.Event()

    async def hold(token: str) -> str:
        async with keeper.holding(token):
            await may_end.wait()
        return "done"

    losing, keeping = asyncio.create_task(hold("lost")), asyncio.create_task(hold("kept"))
    async with catalog.write() as transaction:
        await rows.claim(transaction, lost.id, "another", SystemClock().now() + 99, 99)
    with pytest.raises(asyncio.CancelledError):
        await losing
    may_end.set()
    assert await keeping == "done"


async def test_a_locked_catalog_ends_neither_the_work_nor_the_renewing(
    catalog: Catalog, tmp_path: Path, keeper: LeaseKeeper, new_row: NewRow
) -> None:
    row = new_row()
    await claimed(catalog, row, "held")
    other = Catalog(f"sqlite+aiosqlite:///{tmp_path / 'catalog.sqlite'}")
    async with keeper.holding("held") as lease:
        async with other.write() as lock:
            await lock.execute(text("SELECT 1"))
            before = await expiry_of(catalog, row)
            until = SystemClock().monotonic() + LEASE_SECONDS
            await eventually(lambda: SystemClock().monotonic() > until)
            assert await expiry_of(catalog, row) == before

        async def is_renewed() -> bool:
            return await expiry_of(catalog, row) > before

        await eventually(is_renewed)
        assert not lease.lost
    await other.close()
