"""Workers of both kinds, publishers and deaths in any order, against a real server and the model of its promises."""

from __future__ import annotations

from typing import ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from redis import Redis

from tasks.transport import scripts
from tasks.transport.names import Names
from tasks.transport.scripts import Source
from tests.tasks.transport.fake_time_broker import START_SECONDS, Broker
from tests.tasks.transport.messages_of_all_sorts import (
    NO_MESSAGES,
    QUEUES,
    STEPS,
    Message,
    garbled,
    spelled,
    spellings,
    tag_of,
)
from tests.tasks.transport.model import STOCK_TIMEOUT_SECONDS, Model

LEASES_SECONDS = {"ann": 8, "bob": 12}
WORKERS = tuple(LEASES_SECONDS)
WATCHERS_SECONDS = (8, 12, 4, 40)
"""The leases of those who restore: the workers', and those of others who look after the same broker."""
STOCK = "stan"
WORKER, QUEUE, STEP = st.sampled_from(WORKERS), st.sampled_from(QUEUES), st.sampled_from(STEPS)
PRIORITY = st.sampled_from((0, 0, 0, 1, 5, 9))
HEARD = st.sampled_from((True, True, True, False))
DELAYS = st.sampled_from((-1, 0, 1, 5, 12))


class Harbour(RuleBasedStateMachine):
    """The machine. What a worker believes it holds may be wrong: it can have hung while others were given it."""

    redis: ClassVar[Redis]

    def __init__(self) -> None:
        super().__init__()
        self.published = 0
        self.model = Model(START_SECONDS)
        self.believed: dict[str, list[str]] = {"ann": [], "bob": [], STOCK: []}

    @initialize(prefix=st.sampled_from(("", "fleet:")))
    def start(self, prefix: str) -> None:
        self.names = Names(prefix=prefix)
        self.broker = Broker(self.redis, self.names)
        self.broker.reset()

    @rule(spelling=spellings(), queue=QUEUE, priority=PRIORITY, times=st.integers(1, 6))
    def publish(self, spelling: dict[str, object], queue: str, priority: int, times: int) -> None:
        for _ in range(times):
            self._publish(spelled(spelling, self._number(), queue, priority))

    @rule(spelling=spellings(), queue=QUEUE, priority=PRIORITY, delay=DELAYS)
    def publish_due_later_as_stock_does(
        self, spelling: dict[str, object], queue: str, priority: int, delay: int
    ) -> None:
        self._publish(spelled(spelling, self._number(), queue, priority, self._due(delay)))

    @rule(spelling=spellings(), queue=QUEUE, priority=PRIORITY, delay=DELAYS)
    def publish_due_later(self, spelling: dict[str, object], queue: str, priority: int, delay: int) -> None:
        message = spelled(spelling, self._number(), queue, priority, self._due(delay))
        self.broker.delay(message)
        self.model.delay(message)

    @rule(pattern=NO_MESSAGES, queue=QUEUE, step=STEP)
    def publish_what_is_no_message(self, pattern: str, queue: str, step: int) -> None:
        self._publish(garbled(pattern, self._number(), queue, step))

    @rule(worker=WORKER, queues=st.permutations(QUEUES), want=st.integers(1, 8), data=st.data(), heard=HEARD)
    def claim(self, worker: str, queues: list[str], want: int, data: st.DataObject, heard: bool) -> None:
        """Acknowledgements ride along. A reply that was never heard leaves messages that nobody knows he holds."""
        sources = [Source(queue) for queue in queues[: data.draw(st.integers(1, len(queues)))]]
        acks = self._some_of(worker, data, at_least=0)
        lease_seconds = LEASES_SECONDS[worker]
        claimed = scripts.claim(self.redis, self.names, sources, want, lease_seconds, acks)
        self.model.settle(acks)
        messages = self.model.claim(sources, want, lease_seconds, claimed, self.broker.see())
        if heard:
            self.believed[worker] += [message.tag for message in messages if message.is_message]
            for message in messages:
                if not message.is_message:  # who claims it finds out, and puts it aside
                    self._park(message.queue, message.tag)

    @rule(queue=QUEUE, want=st.integers(1, 3))
    def claim_without_holding(self, queue: str, want: int) -> None:
        sources = [Source(queue, no_ack=True)]
        claimed = scripts.claim(self.redis, self.names, sources, want, 1)
        for message in self.model.claim(sources, want, 1, claimed, self.broker.see()):
            if not message.is_message:
                self.broker.put_aside(message)

    @precondition(lambda self: self.holders())
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        tags = self._some_of(self._holder(data), data)
        assert scripts.settle(self.redis, self.names, tags) == self.model.settle(tags)
        assert scripts.settle(self.redis, self.names, tags) == 0, "the second time, there is nothing to do"

    @precondition(lambda self: self.holders())
    @rule(data=st.data())
    def renew(self, data: st.DataObject) -> None:
        """Also of what was acknowledged while this was on its way."""
        self._renew(self._holder(data), *map(tag_of, sorted(self.model.done)[-3:]))

    @precondition(lambda self: self.holders())
    @rule(front=st.booleans(), data=st.data())
    def give_back(self, front: bool, data: st.DataObject) -> None:
        """Only what nobody else was given meanwhile: who hung for longer than a lease hands back nothing."""
        chosen = self._some_of(self._holder(data), data)
        tags = [tag for tag in chosen if not any(tag in believed for believed in self.believed.values())]
        expected = self.model.give_back(tags, front=front)
        assert scripts.give_back(self.redis, self.names, tags, front=front) == expected

    @precondition(lambda self: self.holders())
    @rule(data=st.data())
    def park(self, data: st.DataObject) -> None:
        tag = data.draw(st.sampled_from(self.believed[self._holder(data)]))
        held = self.model.held.get(tag)
        if held is None or not held.stock:
            queue = held.message.queue if held else QUEUES[0]
            self._park(queue, tag)

    @precondition(lambda self: self.holders())
    @rule(data=st.data())
    def die(self, data: st.DataObject) -> None:
        self.believed[self._holder(data)].clear()

    @rule(seconds=st.sampled_from((1, 4, STOCK_TIMEOUT_SECONDS)))
    def let_time_pass(self, seconds: int) -> None:
        self.model.now += seconds
        self.broker.set_time(self.model.now)

    @precondition(lambda self: self.model.held)
    @rule(lease=st.sampled_from(WATCHERS_SECONDS), limit=st.sampled_from((1, 2, 1_000)))
    def restore(self, lease: int, limit: int) -> None:
        restored = scripts.restore(self.redis, self.names, lease, limit)
        assert restored == self.model.restore(lease, self.broker.see())

    @precondition(lambda self: self.model.held)
    @rule(lease=st.sampled_from(WATCHERS_SECONDS), beats=st.sampled_from((1, 3, 6, 6)))
    def watch(self, lease: int, beats: int) -> None:
        """Time passes while somebody asks in every quarter of a lease, as each of our workers does."""
        for _ in range(beats):
            self.let_time_pass(lease // 4)
            self.restore(lease, 1_000)

    @precondition(lambda self: self.holders())
    @rule(quarters=st.sampled_from((3, 4, 8)), data=st.data())
    def live_through_an_outage(self, quarters: int, data: st.DataObject) -> None:
        """Nobody reaches the server, and then somebody else does before this worker, which lives, renews its leases."""
        worker = self._holder(data)
        lease = LEASES_SECONDS[worker]
        self._renew(worker)
        self.let_time_pass(lease // 4)
        self.restore(lease, 1_000)
        self.let_time_pass(lease * quarters // 4 + 1)
        kept = self.model.held.keys() & self.believed[worker]
        self.restore(lease, 1_000)
        self.let_time_pass(lease // 4)
        self.restore(lease, 1_000)
        assert kept <= self.model.held.keys(), "the living were robbed"
        self._renew(worker)

    @precondition(lambda self: self.model.next_messages())
    @rule(data=st.data())
    def stock_claim(self, data: st.DataObject) -> None:
        self._stock_claim(data.draw(st.sampled_from(self.model.next_messages())))

    @precondition(lambda self: self.believed[STOCK])
    @rule(data=st.data())
    def stock_settle(self, data: st.DataObject) -> None:
        tags = self._some_of(STOCK, data)
        self.broker.stock_settle(tags)
        self.model.stock_settle(tags)

    @precondition(lambda self: self.model.held)
    @rule()
    def stock_restore(self) -> None:
        self.broker.stock_restore(self.model.now - STOCK_TIMEOUT_SECONDS)
        self.model.stock_restore(self.broker.see())

    @precondition(lambda self: self.model.held)
    @rule()
    def stock_takes_over(self) -> None:
        """Nobody but a stock worker looks, which gives back what its time-out allows and takes what is next."""
        self.let_time_pass(STOCK_TIMEOUT_SECONDS)
        self.stock_restore()
        for message in self.model.next_messages():
            self._stock_claim(message)

    @rule()
    def forget_scripts(self) -> None:
        self.redis.script_flush()

    @invariant()
    def every_message_is_where_the_model_has_it(self) -> None:
        self.model.check(self.broker.see())
        assert self.model.count() == self.published

    def _due(self, delay: int) -> float:
        """No two messages are due at the same time, so it is certain which is first."""
        return self.model.now + delay - self.published / 1_000

    def _number(self) -> int:
        self.published += 1
        return self.published

    def _park(self, queue: str, tag: str) -> None:
        assert scripts.park(self.redis, self.names, queue, tag) == self.model.park(tag)

    def _renew(self, worker: str, *others: str) -> None:
        tags, lease_seconds = [*self.believed[worker], *others], LEASES_SECONDS[worker]
        assert scripts.beat(self.redis, self.names, tags, lease_seconds) == self.model.renew(tags, lease_seconds)

    def _stock_claim(self, message: Message) -> None:
        self.broker.stock_claim(message, self.model.now)
        self.model.stock_claim(message)
        self.believed[STOCK].append(message.tag)

    def _publish(self, message: Message) -> None:
        self.broker.publish(message)
        self.model.publish(message)

    def holders(self) -> list[str]:
        """Workers of ours that believe they hold something."""
        return [worker for worker in WORKERS if self.believed[worker]]

    def _holder(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(self.holders()))

    def _some_of(self, worker: str, data: st.DataObject, at_least: int = 1) -> list[str]:
        """Some of what this worker believes it holds, which it is done with then."""
        believed = self.believed[worker]
        if not believed:
            return []
        several = st.lists(st.sampled_from(believed), unique=True, min_size=at_least)
        chosen = data.draw(st.just(list(believed)) | several)
        self.believed[worker] = [tag for tag in believed if tag not in chosen]
        return chosen


def harbour_at(url: str) -> type[Harbour]:
    """The machine for the server at this address, whose database it empties."""
    return type("HarbourAtThisUrl", (Harbour,), {"redis": Redis.from_url(url)})
