"""Bodies of `runs_in="process"` in a real worker: the limits, revokes and deaths that Celery documents for prefork."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from tests.tasks.pool.children_made import is_gone
from tests.tasks.pool.hazard_worker import Client, hazard_workers, outcome
from tests.waiting import eventually


@pytest.fixture
def client(redis_url: str) -> Client:
    return Client(redis_url)


async def test_limits_revokes_and_deaths_end_a_body_and_not_its_worker(
    tmp_path: Path, redis_url: str, client: Client
) -> None:
    async with hazard_workers(tmp_path, redis_url) as workers:
        bystander = client.send("gate", "it")
        assert await outcome(client.send("spin", soft_time_limit=0.3, time_limit=20)) == "tidied up"
        limited = client.send("spin", time_limit=0.3)
        assert type(await outcome(limited)).__name__ == "TimeLimitExceeded"

        revoked = client.send("spin")
        await eventually(lambda: client.redis.llen("spinning") == 3)
        revoked.revoke(terminate=True)
        assert type(await outcome(revoked)).__name__ == "TaskRevokedError"
        for pid in client.redis.lrange("spinning", 1, -1):
            await eventually(partial(is_gone, int(pid)))

        lost = client.send("dies_once")
        assert type(await outcome(lost)).__name__ == "WorkerLostError"
        client.redis.delete("deaths")
        assert await outcome(client.send("dies_once_and_comes_back")) == "second time"

        client.redis.set("open-it", 1)
        assert await outcome(bystander) == workers.process.pid
        await eventually(client.nothing_is_left)
        assert not workers.exit_codes
