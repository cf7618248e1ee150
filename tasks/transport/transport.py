"""The transport as kombu sees it: one a connection, with a poller and a keeper for its channels."""

from __future__ import annotations

from typing import Any

from kombu.transport import redis as stock
from redis.exceptions import ReadOnlyError

from tasks.transport import life
from tasks.transport.channel import Channel
from tasks.transport.connecting import keeper_client
from tasks.transport.keeper import Keeper
from tasks.transport.kombu_privates import StockTransport
from tasks.transport.options import Options
from tasks.transport.poller import Poller
from tasks.transport.queues import QueuesChannel

LOOP = "the consumer's event loop"


class Transport(StockTransport):
    """Redis or Valkey, without loss."""

    Channel = Channel
    cycle: Poller  # type: ignore[assignment]  # the stubs know kombu's poller here and virtual's cycle there

    def __init__(self, client: Any, **kwargs: Any) -> None:
        super().__init__(client, **kwargs)
        self.connection_errors = (*self.connection_errors, ReadOnlyError)  # a primary that is a replica for now
        self.cycle = Poller()
        self.speaks_resp3 = True
        self.options: dict[str, Any] = client.transport_options or {}
        self._keeper: Keeper | None = None

    def keeper_for(self, channel: QueuesChannel) -> Keeper:
        """The keeper of all channels of this connection."""
        if self._keeper is None:
            self._keeper = Keeper(channel.names, Options.read(self.options), lambda: keeper_client(channel))
        return self._keeper

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        """From now on the loop polls."""
        self.cycle.hub = loop
        super().register_with_event_loop(connection, loop)

    def watch_loop(self) -> None:
        """The loop's turning is a sign of life while it has messages to take; a worker that stops lets it rest."""
        if self.cycle.hub is None:
            return
        if self.cycle.has_consumers():
            life.register(LOOP, self.cycle.seconds_since_turn)
        else:
            life.unregister(self.cycle.seconds_since_turn)

    def close_connection(self, connection: Any) -> None:
        """Closes all channels. The signs of the process's other connections stay."""
        life.unregister(self.cycle.seconds_since_turn)
        super().close_connection(connection)


class SentinelChannel(Channel, stock.SentinelChannel):
    """A channel whose server is whichever Sentinel says."""

    from_transport_options = tuple({*Channel.from_transport_options, *stock.SentinelChannel.from_transport_options})


class SentinelTransport(Transport, stock.SentinelTransport):
    """Redis or Valkey with fail-over, without loss."""

    Channel = SentinelChannel
    default_port = stock.SentinelTransport.default_port
