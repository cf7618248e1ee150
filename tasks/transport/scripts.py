"""The Lua scripts of `lua/`, and typed calls of each. All a broker does to messages in one atomic step is here.

The keys and arguments of the claim are also built apart from the call, since a channel sends it without waiting.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import TYPE_CHECKING, Any, NamedTuple

from redis.exceptions import NoScriptError

if TYPE_CHECKING:
    from redis import Redis

    from tasks.transport.names import Names

Word = str | bytes | int | float

TAGS_AT_ONCE = 1_000
"""Lua's stack holds some 8,000 values; a script this size also keeps the server free for others."""

MOST_DUE = 200
"""Most due messages a claim moves per queue: what keeps it short when a million become due together."""

LUA = files("tasks.transport") / "lua"


@dataclass(frozen=True, slots=True)
class Script:
    """One script as the server knows it."""

    text: str
    sha: str = field(init=False)

    def __post_init__(self) -> None:
        digest = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()
        object.__setattr__(self, "sha", digest)

    @classmethod
    def load(cls, name: str, *preludes: str) -> Script:
        """`lua/<name>.lua`, with the named preludes in front of it."""
        return cls("\n".join((LUA / f"{part}.lua").read_text() for part in (*preludes, name)))

    def command(self, keys: Sequence[str], args: Sequence[Word]) -> list[Word]:
        """The words of an EVALSHA."""
        return ["EVALSHA", self.sha, len(keys), *keys, *args]

    def run(self, client: Redis, keys: Sequence[str], args: Sequence[Word]) -> Any:
        """Runs it, also on a server that has forgotten it."""
        try:
            return client.evalsha(self.sha, len(keys), *keys, *args)
        except NoScriptError:
            return client.eval(self.text, len(keys), *keys, *args)


CLAIM = Script.load("claim", "message")
SETTLE = Script.load("settle")
BEAT = Script.load("beat", "message")
RESTORE = Script.load("restore", "message", "returned")
GIVE_BACK = Script.load("give_back", "message", "returned")
PARK = Script.load("park", "message")


class Source(NamedTuple):
    """A queue to claim from. What `no_ack` queues give is not held."""

    queue: str
    no_ack: bool = False


class Claimed(NamedTuple):
    """What a claim gave.

    `wait_milliseconds` is the time until the next delayed message is due; 0: claim again at once, there may be more;
    None: there is nothing to wait for but a publisher.
    """

    messages: list[tuple[str, bytes]]
    wait_milliseconds: int | None
    parked: int
    delayed: int


def claim_words(
    names: Names,
    sources: Sequence[Source],
    want: int,
    lease_seconds: float,
    acks: Collection[str] = (),
    share: int | None = None,
) -> tuple[list[str], list[Word]]:
    """Keys and arguments of a claim of `want` messages. `share` is the most one queue gives in its turn."""
    keys = names.held()
    for source in sources:
        keys += names.of_queue(source.queue)
    share = share or max(1, -(-want // max(1, len(sources))))
    flags = [("-" if source.no_ack else "+") + source.queue for source in sources]
    numbers: list[Word] = [want, share, min(want, MOST_DUE), lease_seconds]
    return keys, [*numbers, len(names.steps), *names.steps, *flags, *acks]


def read_claim(reply: Sequence[Any], sources: Sequence[Source]) -> Claimed:
    """The server's reply to a claim from these sources."""
    wait, parked, delayed = reply[:3]
    messages = [(sources[reply[i] - 1].queue, reply[i + 1]) for i in range(3, len(reply), 2)]
    return Claimed(messages, None if wait < 0 else wait, parked, delayed)


def claim(
    client: Redis,
    names: Names,
    sources: Sequence[Source],
    want: int,
    lease_seconds: float,
    acks: Collection[str] = (),
    share: int | None = None,
) -> Claimed:
    """Takes up to `want` messages, each for as long as the lease, and acknowledges `acks` first."""
    return read_claim(CLAIM.run(client, *claim_words(names, sources, want, lease_seconds, acks, share)), sources)


def settle(client: Redis, names: Names, tags: Collection[str]) -> int:
    """Acknowledges messages; returns how many were still held."""
    return sum(int(SETTLE.run(client, names.held(), some)) for some in _at_once(tags))


def beat(client: Redis, names: Names, tags: Collection[str], lease_seconds: float) -> int:
    """Renews the leases of held messages, from now on for as long as this; returns how many still are held."""
    keys = [names.unacked_index, names.leases]
    return sum(int(BEAT.run(client, keys, [lease_seconds, *some])) for some in _at_once(tags))


def restore(client: Redis, names: Names, lease_seconds: float, limit: int = TAGS_AT_ONCE) -> int:
    """Gives back everything whose lease has run out; returns how many messages that were.

    The lease given is the caller's, who asks four times as often: by it the server finds out that nobody could ask.
    """
    keys, words = [*names.held(), names.watch], [lease_seconds, limit, *names.for_lists(), *names.steps]
    restored: int = 0
    while True:
        looked_at, given = RESTORE.run(client, keys, words)
        restored += given
        if looked_at < limit:
            return restored


def give_back(client: Redis, names: Names, tags: Collection[str], *, front: bool = True) -> int:
    """Gives held messages back, to be the next or the last of their queues; returns how many were still held."""
    words = ["front" if front else "back", *names.for_lists(), len(names.steps), *names.steps]
    batches = list(_at_once(tags))
    given = 0
    for some in reversed(batches) if front else batches:
        given += GIVE_BACK.run(client, names.held(), [*words, *some])
    return given


def park(client: Redis, names: Names, queue: str, tag: str) -> int:
    """Puts a held message aside as malformed; returns 0 if it is not held any more."""
    parked: int = PARK.run(client, [*names.held(), names.malformed(queue)], [tag])
    return parked


def _at_once(tags: Collection[str]) -> Iterator[list[str]]:
    listed = list(tags)
    return (listed[i : i + TAGS_AT_ONCE] for i in range(0, len(listed), TAGS_AT_ONCE))
