"""A real server whose scripts read their time from a key, so that a test can let hours pass; and all that it holds."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from redis import Redis

from tasks.transport import scripts
from tasks.transport.names import Names
from tasks.transport.scripts import Script
from tests.tasks.transport.messages_of_all_sorts import QUEUES, STEPS, Message
from tests.tasks.transport.model import Seen

START_SECONDS = 1_900_000_000
CLOCK = "clock"
SERVER_TIME, FAKE_TIME = "redis.call('TIME')", f"redis.call('HMGET', '{CLOCK}', 'seconds', 'microseconds')"
TIMED = ("CLAIM", "BEAT", "RESTORE")
SEE = """
local read = {list = {'LRANGE', 0, -1}, zset = {'ZRANGE', 0, -1, 'WITHSCORES'}, hash = {'HGETALL'}}
local found = {}
for i, key in ipairs(KEYS) do
  local words = read[redis.call('TYPE', key).ok]
  found[i] = words and redis.call(words[1], key, unpack(words, 2)) or {}
end
found[#found + 1] = redis.call('KEYS', '*')
return found
"""


@contextmanager
def time_from_a_key() -> Iterator[None]:
    """The scripts are the real ones but for where they read the time."""
    real = {name: getattr(scripts, name) for name in TIMED}
    try:
        for name, script in real.items():
            assert SERVER_TIME in script.text
            setattr(scripts, name, Script(script.text.replace(SERVER_TIME, FAKE_TIME)))
        yield
    finally:
        for name, script in real.items():
            setattr(scripts, name, script)


@dataclass
class Broker:
    """The server as publishers, stock workers and the test's eye see it."""

    redis: Redis
    names: Names

    def reset(self) -> None:
        """Nothing is on the server but the time."""
        self.redis.flushdb()
        self.set_time(START_SECONDS)

    def set_time(self, seconds: float) -> None:
        """What the scripts take for now."""
        self.redis.hset(CLOCK, mapping={"seconds": int(seconds), "microseconds": 0})

    def publish(self, message: Message) -> None:
        """As kombu does."""
        self.redis.lpush(self.names.ready(message.queue, message.step), message.raw)

    def delay(self, message: Message) -> None:
        """As our publisher does with what is due later."""
        assert message.due is not None
        self.redis.zadd(self.names.delayed(message.queue), {message.raw: message.due})

    def put_aside(self, message: Message) -> None:
        """As a channel does with what it can't read and does not hold."""
        self.redis.lpush(self.names.malformed(message.queue), message.raw)

    def stock_claim(self, message: Message, now: float) -> None:
        """As kombu does: pop, then write down."""
        raw: Any = self.redis.rpop(self.names.ready(message.queue, message.step))
        with self.redis.pipeline() as together:
            together.zadd(self.names.unacked_index, {message.tag: now})
            together.hset(self.names.unacked, message.tag, json.dumps([json.loads(raw), "", message.queue]))
            together.execute()

    def stock_settle(self, tags: Collection[str]) -> None:
        """As kombu does: from the two keys it knows."""
        with self.redis.pipeline() as together:
            for tag in tags:
                together.zrem(self.names.unacked_index, tag)
                together.hdel(self.names.unacked, tag)
            together.execute()

    def stock_restore(self, older_than: float) -> None:
        """As kombu does with what is past its time-out, whoever held it."""
        tags: Any = self.redis.zrangebyscore(self.names.unacked_index, "-inf", older_than)
        for tag in tags:
            entry: Any = self.redis.hget(self.names.unacked, tag)
            try:
                message, _, queue = json.loads(entry)
            except ValueError:
                continue
            marked = [message.get("headers"), message["properties"].get("delivery_info")]
            for part in marked:
                if part is not None:
                    part["redelivered"] = True
            step = max(step for step in STEPS if step <= message["properties"]["priority"])
            with self.redis.pipeline() as together:
                together.zrem(self.names.unacked_index, tag)
                together.hdel(self.names.unacked, tag)
                together.lpush(self.names.ready(queue, step), json.dumps(message))
                together.execute()

    def see(self) -> Seen:
        """All that the server holds, at one moment."""
        lists = {(queue, step): self.names.ready(queue, step) for queue in QUEUES for step in STEPS}
        wanted = [*lists.values(), *map(self.names.malformed, QUEUES), *map(self.names.delayed, QUEUES)]
        wanted += self.names.held()
        found: Any = self.redis.eval(SEE, len(wanted), *wanted)
        values = {key: [word.decode() for word in words] for key, words in zip(wanted, found[:-1], strict=True)}
        self._check_keys({key.decode() for key in found[-1]})
        held, scores, leases = (_pairs(values[key]) for key in self.names.held())
        return Seen(
            ready={key: values[name][::-1] for key, name in lists.items()},
            delayed={queue: _scores(_pairs(values[self.names.delayed(queue)])) for queue in QUEUES},
            malformed={queue: values[self.names.malformed(queue)] for queue in QUEUES},
            held={tag: _inside(entry) for tag, entry in held.items()},
            scores=_scores(scores),
            leases=_scores(leases),
        )

    def _check_keys(self, keys: set[str]) -> None:
        known = {key for queue in QUEUES for key in self.names.of_queue(queue)} | {*self.names.held()}
        known |= {self.names.watch, CLOCK}
        assert keys <= known, f"nobody knows of {keys - known}"


def _pairs(words: list[str]) -> dict[str, str]:
    return dict(zip(words[::2], words[1::2], strict=True))


def _scores(pairs: dict[str, str]) -> dict[str, float]:
    return {member: float(score) for member, score in pairs.items()}


def _inside(entry: str) -> str:
    """The raw message in an entry of ours; a stock worker's entry as it is."""
    ours = re.fullmatch(r'\[(.*),"","[^"]*"\]', entry, re.DOTALL)
    return ours[1] if ours else entry
