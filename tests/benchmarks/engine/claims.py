"""What one claim costs the server when a million messages wait, beside one on a broker that is almost empty.

The time is the server's own (`INFO commandstats`), of claims that take, and acknowledge, equally many messages; the two
brokers are asked in turns.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from statistics import median
from typing import NamedTuple

from redis import Redis

from tasks.transport import scripts
from tasks.transport.names import Names
from tests.benchmarks.engine.backlogs import UUID
from tests.benchmarks.installation import Row

QUEUE = "waiting"
SOURCES = [scripts.Source(QUEUE)]
NAMES = Names()
CLAIMED = 200
LEASE_SECONDS = 10.0
"""How many messages a claim of a busy worker takes."""

MOST = 1.3
BATCH = 10_000
FILL = """
for i = tonumber(ARGV[2]), tonumber(ARGV[3]) do
  local message = string.gsub(ARGV[1], '00000000%-0000%-0000%-0000', string.format('%023d', i))
  if ARGV[4] == 'list' then redis.call('RPUSH', KEYS[1], message) else redis.call('ZADD', KEYS[1], ARGV[4], message) end
end
"""
"""Makes messages that differ in their ids, on the server, where a million take seconds."""


class Crowd(NamedTuple):
    """Where the many messages are: in the list or, when `due_in_seconds` says when they are due, among the delayed."""

    name: str
    due_in_seconds: float | None = None

    def fill(self, redis: Redis, message: bytes, first: int, count: int) -> None:
        """Adds `count` of them, numbered from `first`."""
        delayed = self.due_in_seconds is not None
        key = NAMES.delayed(QUEUE) if delayed else QUEUE
        place = str(time.time() + (self.due_in_seconds or 0)) if delayed else "list"
        for start in range(first, first + count, BATCH):
            redis.eval(FILL, 1, key, message, str(start), str(min(start + BATCH, first + count) - 1), place)

    def is_claimable(self) -> bool:
        """Whether a claim takes from the crowd itself."""
        return self.due_in_seconds is None or self.due_in_seconds <= 0


CROWDS = (
    Crowd("queued"),
    Crowd("delayed, due tomorrow", due_in_seconds=86_400.0),
    Crowd("delayed, all due", due_in_seconds=-1.0),
)


def rows(redis_url: Callable[[int], str], message: bytes, count: int, claims: int) -> list[Row]:
    """One row for each kind of crowd. `redis_url(n)` is the address of an own database; both are emptied."""
    template = _numbered(message)
    found = []
    for crowd in CROWDS:
        few, many = Redis.from_url(redis_url(1)), Redis.from_url(redis_url(2))
        few.flushdb()
        many.flushdb()
        crowd.fill(many, template, 0, count)
        small, large = _in_turns(crowd, few, many, template, count, claims)
        many.flushdb()
        ratio = large / small
        found.append(
            Row(
                f"a claim of {CLAIMED} with {count:,} {crowd.name}",
                f"{large:.0f} µs, {ratio:.2f} x",
                f"at most {MOST} x",
                ratio <= MOST,
            )
        )
    return found


def _in_turns(crowd: Crowd, few: Redis, many: Redis, message: bytes, count: int, claims: int) -> tuple[float, float]:
    """Median µs of a claim on the broker with few and on the one with many messages."""
    taken: dict[Redis, list[float]] = {few: [], many: []}
    held: dict[Redis, list[str]] = {few: [], many: []}
    number = count
    for _ in range(claims):
        number += CLAIMED
        Crowd("few", crowd.due_in_seconds if crowd.is_claimable() else None).fill(few, message, number, CLAIMED)
        if not crowd.is_claimable():
            Crowd("few").fill(many, message, number, CLAIMED)
        for redis in (few, many):
            spent, held[redis] = _claim(redis, held[redis])
            taken[redis].append(spent)
    return median(taken[few]), median(taken[many])


def _claim(redis: Redis, acks: list[str]) -> tuple[float, list[str]]:
    """The server's µs for one claim, and the tags of what it gave."""
    before = _spent_us(redis)
    claimed = scripts.claim(redis, NAMES, SOURCES, CLAIMED, LEASE_SECONDS, acks)
    spent = _spent_us(redis) - before
    assert len(claimed.messages) == CLAIMED, f"{len(claimed.messages)} of {CLAIMED} messages came"
    return spent, [json.loads(raw)["properties"]["delivery_tag"] for _, raw in claimed.messages]


def _spent_us(redis: Redis) -> float:
    stats = redis.info("commandstats")
    return sum(float(stats[name]["usec"]) for name in ("cmdstat_evalsha",) if name in stats)


def _numbered(message: bytes) -> bytes:
    """The message with ids in which `FILL` finds its place."""
    ids = sorted(set(UUID.findall(message)))
    for number, known in enumerate(ids):
        message = message.replace(known, f"00000000-0000-0000-0000-{number:012d}".encode())
    return message
