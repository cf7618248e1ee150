"""A kombu channel on Redis whose messages are never between two places. Keys and formats are those of stock kombu."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from kombu.log import get_logger
from kombu.transport import redis as stock
from kombu.utils.json import dumps

from tasks.transport import scripts
from tasks.transport.intake import Intake
from tasks.transport.messages import decode
from tasks.transport.options import Options
from tasks.transport.qos import QoS
from tasks.transport.queues import QueuesChannel
from tasks.transport.scripts import Source

if TYPE_CHECKING:
    from tasks.transport.transport import Transport

logger = get_logger(__name__)

Payload = dict[str, Any]
UNREADABLE = (KeyError, TypeError, ValueError, AttributeError)


class Channel(QueuesChannel):
    """Claims in batches, acknowledges in batches, and keeps what is not due in a set beside the queue."""

    QoS = QoS
    from_transport_options = tuple(name for name in stock.Channel.from_transport_options if name != "ack_emulation")

    def __init__(self, connection: Transport, **kwargs: Any) -> None:
        self.options = Options.read(connection.options)
        self.poller = connection.cycle
        self._no_ack_queues: set[str] = set()
        self._is_attached = False
        self.intake = Intake(self)
        super().__init__(connection, **kwargs)
        self.keeper = connection.keeper_for(self)
        self.shares_evenly = self.queue_order_strategy == "round_robin"

    def basic_consume(
        self,
        queue: str,
        no_ack: bool = False,
        callback: Callable[..., Any] | None = None,
        consumer_tag: str | None = None,
        **kwargs: Any,
    ) -> str:
        """Starts to consume from the queue."""
        if not no_ack:  # who only listens, as for replies and events, holds nothing and needs no keeper
            self._attach()
        (self._no_ack_queues.add if no_ack else self._no_ack_queues.discard)(queue)
        consumed: str = super().basic_consume(queue, no_ack, callback, consumer_tag, **kwargs)
        if callback is not None and queue not in self.active_fanout_queues:
            self.connection._callbacks[queue] = self._receiver(queue, no_ack, callback)
        self.connection.watch_loop()
        self.intake.wake()
        return consumed

    def basic_get(self, queue: str, no_ack: bool = False, **kwargs: Any) -> Any:
        """One message, or None."""
        if not no_ack:
            self._attach()
        client, source, lease_seconds = self.plain_client, Source(queue, no_ack), self.options.lease_seconds
        claimed = scripts.claim(client, self.names, [source], 1, lease_seconds)
        while not claimed.messages and claimed.wait_milliseconds == 0:  # the one it took was malformed, or not due
            claimed = scripts.claim(client, self.names, [source], 1, lease_seconds)
        with self.conn_or_acquire() as prefixing:
            self._maybe_update_queues_expire(prefixing, queue)
        if not claimed.messages:
            return None
        payload, tag = decode(claimed.messages[0][1])
        message = self.Message(payload, channel=self)
        if not no_ack:
            self.keeper.hold((tag,))
            self.qos.append(message, tag)
        return message

    def sources(self) -> list[Source]:
        """The queues to claim from, the one whose turn it is first."""
        queues = self._queue_cycle.consume(len(self.active_queues))
        return [Source(queue, queue in self._no_ack_queues) for queue in queues]

    def room(self) -> int:
        """How many messages may be claimed."""
        room = self.qos.can_consume_max_estimate()
        return self.options.claim_most if room is None else room

    def rotate(self) -> None:
        """The queue that was first is the last now."""
        if queues := self._queue_cycle.consume(1):
            self._queue_cycle.rotate(queues[0])

    def hold(self, queue: str, tag: str) -> None:
        """A claim has written down that this message of the queue is ours."""
        if queue not in self._no_ack_queues:
            self.keeper.hold((tag,))

    def deliver(self, message: Payload, queue: str) -> None:
        """Hands a claimed message to its consumer, or back if that has been cancelled meanwhile."""
        if queue in self.connection._callbacks:
            self.connection._deliver(message, queue)
        else:
            self.return_undelivered(message, queue)

    def return_undelivered(self, message: Payload, queue: str) -> None:
        """Nobody has seen this message that was claimed: it is to be the next again."""
        tag = message["properties"]["delivery_tag"]
        if self.keeper.holds(tag):
            self.keeper.give_back([tag], front=True)
        else:
            self._put(queue, message)

    def park(self, queue: str, raw: bytes | str, tag: str | None, error: Exception) -> None:
        """Puts a message aside that can't be read."""
        malformed = self.names.malformed(queue)
        logger.error("transport: put a malformed message aside, see %s: %s", malformed, error)
        if tag is None or queue in self._no_ack_queues:
            self.plain_client.lpush(malformed, raw)
        if tag is not None:
            self.keeper.forget(tag)
            scripts.park(self.plain_client, self.names, queue, tag)

    def expect_answer(self, connection: Any, now: float) -> None:
        """A command was sent on this connection."""
        self._in_poll, self._brpop_sent_at = connection, now

    def expect_announcement(self, connection: Any) -> None:
        """Nothing is owed, so nothing is overdue; yet the connection is taken."""
        self._in_poll, self._brpop_sent_at = connection, None

    def expect_nothing(self) -> None:
        """The connection is free."""
        self._in_poll = self._brpop_sent_at = None
        self._flush_brpop_reauth()

    def close(self) -> None:
        """Gives back what has not begun, and leaves what runs to the keeper."""
        if not self.closed:
            self.intake.close()
            self._in_poll = None
        try:
            while self.intake.backlog:
                self.return_undelivered(*self.intake.backlog.popleft())
            super().close()
        finally:
            if self._is_attached:
                self._is_attached = False
                self.keeper.detach()

    def _attach(self) -> None:
        if not self._is_attached:
            self._is_attached = True
            self.keeper.attach()

    def _receiver(self, queue: str, no_ack: bool, callback: Callable[[Any], Any]) -> Callable[[Payload], Any]:
        def receive(payload: Payload) -> Any:
            tag = payload["properties"]["delivery_tag"]
            try:
                message = self.Message(payload, channel=self)
            except UNREADABLE as error:
                return self.park(queue, dumps(payload), tag, error)
            if not no_ack:
                self.qos.append(message, tag)
            try:
                return callback(message)
            except UNREADABLE as error:
                if "task" not in message.headers or message.acknowledged:
                    raise  # a consumer's own error, or one about a message that has been dealt with
                # Celery stops at headers or a body of other types than it expects: so would each worker after this one.
                logger.debug("transport: what Celery says of that message", exc_info=True)
                cast("QoS", self.qos)._quick_ack(tag)
                return self.park(queue, dumps(payload), tag, error)

        return receive

    def _basic_cancel(self, consumer_tag: str) -> Any:
        self.intake.wake()
        cancelled = super()._basic_cancel(consumer_tag)
        self.connection.watch_loop()
        return cancelled

    def _unsubscribe_from(self, queue: str) -> None:
        try:
            super()._unsubscribe_from(queue)
        except self.connection_errors as error:  # the subscription went with its connection
            logger.debug("transport: not unsubscribed from %s: %s", queue, error)

    def _brpop_start(self, timeout: float | None = None) -> None:
        self.intake.start()

    def _brpop_read(self, **options: Any) -> Any:
        return self.intake.on_readable()

    def _on_connection_disconnect(self, connection: Any) -> None:
        super()._on_connection_disconnect(connection)
        if connection is getattr(self.__dict__.get("client"), "connection", None):
            self.intake.on_disconnect()
