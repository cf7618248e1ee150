"""The scripts as a test calls them, with a lease that does not run out by itself."""

from __future__ import annotations

from typing import Any

from redis import Redis

from tasks.transport import scripts
from tasks.transport.names import Names
from tasks.transport.scripts import Claimed, Source

NAMES = Names()
Q = [Source("q")]
LEASE_SECONDS = 10.0


def claim(client: Redis, names: Names, sources: list[Source], want: int, **words: Any) -> Claimed:
    """Claims with a lease that no test outlives."""
    return scripts.claim(client, names, sources, want, LEASE_SECONDS, **words)


def restore(client: Redis, names: Names = NAMES, **words: Any) -> int:
    """Restores as one of those does who have looked after the broker all the time."""
    client.hset(names.watch, mapping={"asked": server_seconds(client), "wait_until": 0})
    return scripts.restore(client, names, LEASE_SECONDS, **words)


def server_seconds(client: Redis) -> float:
    """The server's time, since 1970."""
    seconds, microseconds = client.time()
    return seconds + microseconds / 1e6


def overdue(client: Redis, names: Names = NAMES) -> None:
    """Makes every lease of the broker run out."""
    client.zunionstore(names.leases, {names.leases: 0})
