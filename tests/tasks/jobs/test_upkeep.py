from __future__ import annotations

from collections.abc import Callable

from tasks.catalog import tasks as rows
from tasks.catalog.tasks import TaskRow
from tasks.jobs.upkeep import reconcile, sweep
from tasks.parts import Parts
from tests.tasks.running import run


async def test_reconcile_sends_what_nobody_sent(parts: Parts, new_row: Callable[..., TaskRow]) -> None:
    async with parts.catalog.write() as transaction:
        await rows.add(transaction, new_row())
    await run(parts, reconcile, "r")
    assert await parts.broker.llen("upload") == 1


async def test_sweep_removes_what_nobody_wants(parts: Parts) -> None:
    staged = await parts.staging.create("nobody-s")
    await staged.seal()
    await staged.close()
    await run(parts, sweep, "s")
    assert not parts.staging.sealed_path("nobody-s").exists()


async def test_neither_leaves_a_record(parts: Parts) -> None:
    for actor in (reconcile, sweep):
        await run(parts, actor, actor.name)
        assert await parts.records.get(actor.name) is None
