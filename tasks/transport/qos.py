"""What one channel's consumer has in hand: its room for more, and where an answer to a message goes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kombu.log import get_logger
from kombu.transport import virtual
from redis.exceptions import ResponseError

from tasks.transport import running
from tasks.transport.kombu_privates import StockQoS

if TYPE_CHECKING:
    from tasks.transport.channel import Channel

logger = get_logger(__name__)


class QoS(StockQoS):
    """kombu's bookkeeping, without its round trips: claims write down what is held, and the keeper does the rest.

    A message that did not come by a claim (a broadcast one that is to be acknowledged) is written down as stock does.
    """

    channel: Channel

    def __init__(self, channel: Channel, prefetch_count: int = 0) -> None:
        super().__init__(channel, prefetch_count)
        self._keeper = channel.keeper
        self._backlog = channel.intake.backlog

    def in_hand(self) -> int:
        """How many messages are claimed and not answered."""
        return len(self._delivered) - len(self._dirty) + len(self._backlog)

    def can_consume(self) -> bool:
        """Whether there is room for a message."""
        return not self.prefetch_count or self.in_hand() < self.prefetch_count

    def can_consume_max_estimate(self) -> int | None:  # type: ignore[override]  # None is no limit, in kombu too
        """For how many messages there is room."""
        return max(0, self.prefetch_count - self.in_hand()) if self.prefetch_count else None

    def append(self, message: Any, delivery_tag: str) -> None:
        """This message is delivered."""
        if self._keeper.holds(delivery_tag):
            virtual.QoS.append(self, message, delivery_tag)
        else:
            super().append(message, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        """It is done."""
        self._keeper.ack(delivery_tag)
        self._quick_ack(delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """It is not wanted: to be dropped, or to be the last of its queue."""
        if not requeue:
            self._keeper.ack(delivery_tag)
        elif self._keeper.holds(delivery_tag):
            self._keeper.give_back([delivery_tag], front=False)
        else:
            self.restore_by_tag(delivery_tag, leftmost=True)
        self._quick_ack(delivery_tag)

    def restore_visible(self, *args: Any, **kwargs: Any) -> None:
        """What stock workers left goes back as kombu does it, once the server takes writes."""
        try:
            super().restore_visible(*args, **kwargs)
        except ResponseError as error:
            logger.warning("transport: what stock workers left can't be given back now: %s", error)

    def restore_unacked(self, client: Any = None) -> None:
        """Everything in hand goes back."""
        self._give_back(set())

    def restore_unacked_once(self, stderr: Any = None) -> None:
        """The channel closes: what has not begun goes back at once, what runs stays held."""
        self._on_collect.cancel()
        if not self._delivered.restored:
            self._give_back(running.tags())
            self._delivered.restored = True

    def _give_back(self, keep: set[str]) -> None:
        self._flush()
        self._keeper.give_back([tag for tag in self._delivered if tag not in keep], front=True)
        self._delivered.clear()
