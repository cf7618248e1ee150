"""What the transport promises about every message, as a model that knows no Redis.

Each message is in exactly one place: ready, delayed, held, parked as malformed, or done. The model is told what was
done and what a claim answered, refuses what breaks a promise, and is then compared with all that the server holds.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tasks.transport.scripts import Claimed, Source
from tests.tasks.transport.messages_of_all_sorts import QUEUES, STEPS, Message

STOCK_TIMEOUT_SECONDS = 25
SCORE_SECONDS = 0.00001
"""How precisely a score tells a time."""


class Seen(NamedTuple):
    """Everything on the server. Lists begin with what is popped next; scores are seconds since 1970."""

    ready: dict[tuple[str, int], list[str]]
    delayed: dict[str, dict[str, float]]
    malformed: dict[str, list[str]]
    held: dict[str, str]
    scores: dict[str, float]
    leases: dict[str, float]

    def order_aside(self, raw: str) -> int:
        """How far from the front of what is put aside this stands."""
        return next((raws.index(raw) for raws in self.malformed.values() if raw in raws), 0)


@dataclass
class Held:
    """A message in somebody's hands, last renewed at this time."""

    message: Message
    renewed_at: float
    stock: bool = False


@dataclass
class Model:
    """The places. `now` is the server's time. `leases` says when they run out; a stock worker leaves some behind."""

    now: float
    ready: dict[tuple[str, int], list[Message]] = field(
        default_factory=lambda: {(queue, step): [] for queue in QUEUES for step in STEPS}
    )
    delayed: dict[str, list[Message]] = field(default_factory=lambda: {queue: [] for queue in QUEUES})
    malformed: dict[str, list[Message]] = field(default_factory=lambda: {queue: [] for queue in QUEUES})
    held: dict[str, Held] = field(default_factory=dict)
    leases: dict[str, float] = field(default_factory=dict)
    asked_at: float | None = None
    restores_wait_until: float = 0.0
    done: set[int] = field(default_factory=set)

    def count(self) -> int:
        """How many messages there are in all places."""
        lists = (*self.ready.values(), *self.delayed.values(), *self.malformed.values())
        return sum(map(len, lists)) + len(self.held) + len(self.done)

    def publish(self, message: Message) -> None:
        """It is the last of its list."""
        self.ready[message.queue, message.step].append(message)

    def delay(self, message: Message) -> None:
        """It waits until it is due."""
        self.delayed[message.queue].append(message)

    def claim(
        self, sources: Sequence[Source], want: int, lease_seconds: float, claimed: Claimed, seen: Seen
    ) -> list[Message]:
        """Checks what a claim gave, acknowledgements apart; `seen` is the server afterwards. Returns what it gave."""
        for source in sources:
            self._move_due(source.queue, want)
        popped = {key: self._popped(key, seen) for key in self.ready if key[0] in {source.queue for source in sources}}
        self._check_amount(sources, want, popped)
        given = {key: self._place(key, messages) for key, messages in popped.items()}
        self._check_given(claimed, given)
        self._check_wait(sources, want, claimed, sum(map(len, popped.values())))
        kept = {source.queue for source in sources if not source.no_ack}
        for message in [message for some in given.values() for message in some]:
            if message.queue in kept:
                self.held[message.tag] = Held(message, self.now)
                self.leases[message.tag] = self.now + lease_seconds
            elif message.is_message:
                self.done.add(message.number)
            else:
                self.malformed[message.queue].insert(0, message)
        return [message for some in given.values() for message in some]

    def settle(self, tags: Collection[str]) -> int:
        """What is held under these tags is done; what is not held stays where it is."""
        for tag in tags:
            self.leases.pop(tag, None)
        return sum(self._finish(tag) for tag in tags)

    def stock_settle(self, tags: Collection[str]) -> None:
        """A stock worker is done with these, and knows nothing of leases."""
        for tag in tags:
            self._finish(tag)

    def renew(self, tags: Collection[str], lease_seconds: float) -> int:
        """The leases of what is held start anew."""
        renewed = [tag for tag in tags if tag in self.held]
        for tag in renewed:
            self.held[tag].renewed_at = self.now
            if tag in self.leases:
                self.leases[tag] = self.now + lease_seconds
        return len(renewed)

    def give_back(self, tags: Sequence[str], *, front: bool) -> int:
        """Each goes back to its list without a loss; to the front, the first of the tags is the next of its list.

        Who was given a message twice, for it had hung in between, may name it twice.
        """
        going = [tag for tag in dict.fromkeys(reversed(tags) if front else tags) if tag in self.held]
        going = [tag for tag in going if not self.held[tag].stock]
        for tag in going:
            message = self.held.pop(tag).message
            self.leases.pop(tag, None)
            message.redelivered = True
            ready = self.ready[message.queue, message.step]
            ready.insert(0 if front else len(ready), message)
        return len(going)

    def restore(self, lease_seconds: float, seen: Seen) -> int:
        """What its holder did not renew is in front of its list, in whatever order, and has one loss more."""
        if self._must_wait(lease_seconds):
            return 0
        over = [tag for tag, end in self.leases.items() if end <= self.now]
        for tag in over:
            del self.leases[tag]
        expired = [held for tag in over if (held := self.held.get(tag)) and not held.stock]
        for held in expired:
            held.message.losses += 1
        self._return([held for held in expired if held.message.is_message], seen, front=True)
        for held in sorted(expired, key=lambda held: seen.order_aside(held.message.raw), reverse=True):
            if not held.message.is_message:
                self.park(held.message.tag)
        return len(expired)

    def stock_restore(self, seen: Seen) -> None:
        """kombu gives back what is past its own time-out, ours too, and counts nothing."""
        overdue = [held for held in self.held.values() if self._age(held) >= STOCK_TIMEOUT_SECONDS]
        expired = [held for held in overdue if held.message.is_message]
        self._return(expired, seen, front=False)

    def next_messages(self) -> list[Message]:
        """What a stock worker could take: it pops the next of a list."""
        return [messages[0] for messages in self.ready.values() if messages and messages[0].is_message]

    def stock_claim(self, message: Message) -> None:
        """A stock worker takes the next of a list."""
        assert self.ready[message.queue, message.step].pop(0) is message
        self.held[message.tag] = Held(message, self.now, stock=True)

    def park(self, tag: str) -> bool:
        """What its holder can't read is put aside."""
        self.leases.pop(tag, None)
        if tag not in self.held or self.held[tag].stock:
            return False
        message = self.held.pop(tag).message
        self.malformed[message.queue].insert(0, message)
        return True

    def check(self, seen: Seen) -> None:
        """Compares every place with the server."""
        for key, messages in self.ready.items():
            self._check_list(messages, seen.ready[key], f"ready {key}")
            untouched = [message.number for message in messages if not message.redelivered and message.due is None]
            assert untouched == sorted(untouched), f"overtaken in {key}: {untouched}"
        for queue in QUEUES:
            self._check_list(self.malformed[queue], seen.malformed[queue], f"malformed {queue}")
            self._check_delayed(self.delayed[queue], dict(seen.delayed[queue]))
        assert seen.held.keys() == seen.scores.keys() == self.held.keys(), "held"
        assert seen.leases == self.leases, "leases"
        for tag, held in self.held.items():
            assert seen.scores[tag] == held.renewed_at, f"{tag} was renewed at another time"
            assert held.stock or held.message.looks_right(seen.held[tag]), f"{tag} is held as {seen.held[tag]}"

    def _check_list(self, messages: list[Message], raws: list[str], place: str) -> None:
        fits = len(messages) == len(raws) and all(map(Message.looks_right, messages, raws))
        assert fits, f"{place} should hold {[(m.number, m.losses, m.redelivered) for m in messages]}, holds {raws}"

    def _check_delayed(self, messages: list[Message], raws: dict[str, float]) -> None:
        for message in messages:
            found = next((raw for raw in raws if message.looks_right(raw)), None)
            assert found, f"{message.number} should be delayed"
            assert abs(raws.pop(found) - _due_at(message)) < SCORE_SECONDS, f"{message.number} is due at another time"
        assert not raws, f"nobody delayed {raws}"

    def _move_due(self, queue: str, most: int) -> None:
        due = [message for message in self.delayed[queue] if message.due is not None and message.due <= self.now]
        for message in reversed(sorted(due, key=_due_at)[:most]):
            self.delayed[queue].remove(message)
            self.ready[queue, message.step].insert(0, message)

    def _popped(self, key: tuple[str, int], seen: Seen) -> list[Message]:
        before, left = self.ready[key], len(seen.ready[key])
        assert left <= len(before), f"{key} grew by a claim"
        taken = len(before) - left
        self.ready[key] = before[taken:]
        return before[:taken]

    def _check_amount(self, sources: Sequence[Source], want: int, popped: dict[tuple[str, int], list[Message]]) -> None:
        left = {key: len(self.ready[key]) for key in popped}
        taken = sum(map(len, popped.values()))
        assert taken == min(want, taken + sum(left.values())), f"{taken} of {want} taken while there were {left}"
        last_step = max((step for (_, step), some in popped.items() if some), default=0)
        assert not any(count for (_, step), count in left.items() if step < last_step), "a lower priority overtook"
        share = -(-want // len(sources))
        for (queue, step), some in popped.items():
            most = max(len(popped[other.queue, step]) for other in sources)
            assert not left[queue, step] or len(some) >= most - share, f"{queue} had less than its share"

    def _place(self, key: tuple[str, int], popped: list[Message]) -> list[Message]:
        given = []
        for message in popped:
            if not message.is_message and not message.passes_for_one:
                self.malformed[key[0]].insert(0, message)
            elif message.due is not None and message.due > self.now:
                self.delayed[key[0]].append(message)
            else:
                given.append(message)
        return given

    def _check_given(self, claimed: Claimed, given: dict[tuple[str, int], list[Message]]) -> None:
        unseen = {key: list(some) for key, some in given.items()}
        for queue, raw in claimed.messages:
            heads = [some for key, some in unseen.items() if key[0] == queue and some]
            fitting = next((some for some in heads if some[0].looks_right(raw.decode())), None)
            assert fitting, f"{raw!r} was not the next of any list of {queue}"
            fitting.pop(0)
        assert not any(unseen.values()), f"taken and not given: {unseen}"

    def _check_wait(self, sources: Sequence[Source], want: int, claimed: Claimed, taken: int) -> None:
        if taken == want:
            assert claimed.wait_milliseconds == 0
            return
        delayed = [message for source in sources for message in self.delayed[source.queue]]
        if not delayed:
            assert claimed.wait_milliseconds is None
            return
        expected = max(0, (min(map(_due_at, delayed)) - self.now) * 1_000)
        assert claimed.wait_milliseconds is not None
        assert abs(claimed.wait_milliseconds - expected) <= 1, "one millisecond is what rounding may add"

    def _return(self, expired: Collection[Held], seen: Seen, *, front: bool) -> None:
        """To one end of their lists, each in the place that the server gave it among those that return together."""
        groups: dict[tuple[str, int], list[Message]] = {}
        for held in expired:
            del self.held[held.message.tag]
            held.message.redelivered = True
            groups.setdefault((held.message.queue, held.message.step), []).append(held.message)
        for key, group in groups.items():
            raws = seen.ready[key][: len(group)] if front else seen.ready[key][-len(group) :]
            order = [next((one for one in group if one.looks_right(raw)), None) for raw in raws]
            assert None not in order, f"{[m.number for m in group]} should have returned to {key}, there are {raws}"
            placed = [one for one in order if one]
            self.ready[key] = placed + self.ready[key] if front else self.ready[key] + placed

    def _finish(self, tag: str) -> bool:
        held = self.held.pop(tag, None)
        if held:
            self.done.add(held.message.number)
        return held is not None

    def _must_wait(self, lease_seconds: float) -> bool:
        """Whether nobody asked for so long that the living may not have been able to renew what has run out."""
        asked_at, self.asked_at = self.asked_at, self.now
        if asked_at is None or self.now - asked_at > lease_seconds * 3 / 4:
            self.restores_wait_until = self.now + lease_seconds / 2
        return self.now < self.restores_wait_until

    def _age(self, held: Held) -> float:
        return self.now - held.renewed_at


def _due_at(message: Message) -> float:
    assert message.due is not None
    return message.due
