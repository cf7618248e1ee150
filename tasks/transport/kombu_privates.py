"""Every private name of kombu and redis-py that the transport leans on, with its type, in one place.

kombu is pinned to a minor version because of this page. The declarations are for the type checker; a test holds that
each name exists in the installed packages, so that a version that changed one is found out before a worker is.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from kombu import transport as transports
from kombu.transport import redis as stock

if TYPE_CHECKING:

    class _Unacked(OrderedDict[str, Any]):
        restored: bool

    class StockQoS(stock.QoS):
        """kombu's bookkeeping of one channel's messages."""

        _delivered: _Unacked
        _dirty: set[str]
        _quick_ack: Callable[[str], None]
        _on_collect: Any

        def _flush(self) -> None: ...

    class StockPoller(stock.MultiChannelPoller):
        """kombu's poller of channels."""

        _channels: set[Any]
        _fd_to_chan: dict[int, tuple[Any, str]]

        def _update_brpop_polling(self) -> None: ...

    class StockChannel(stock.Channel):
        """kombu's channel on Redis."""

        _in_poll: Any
        _brpop_sent_at: float | None
        _queue_cycle: Any
        _sentinel_manager: Any
        _closing: bool
        connection_errors: tuple[type[Exception], ...]

        def _connparams(self, asynchronous: bool = False) -> dict[str, Any]: ...
        def _create_client(self, asynchronous: bool = False) -> Any: ...
        def _get_pool(self, asynchronous: bool = False) -> Any: ...
        def _disconnect_pools(self) -> None: ...
        def _on_connection_disconnect(self, connection: Any) -> None: ...
        def _flush_brpop_reauth(self) -> None: ...
        def _brpop_start(self, timeout: float | None = None) -> None: ...
        def _brpop_read(self, **options: Any) -> Any: ...
        def _unsubscribe_from(self, queue: str) -> None: ...
        def _basic_cancel(self, consumer_tag: str) -> Any: ...
        def _maybe_update_queues_expire(self, client: Any, queue: str) -> None: ...
        def _put(self, queue: str, message: dict[str, Any], **kwargs: Any) -> None: ...
        def _has_queue(self, queue: str, **kwargs: Any) -> bool: ...
        def _queue_bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None: ...
        def _delete(
            self, queue: str, exchange: str, routing_key: str, pattern: str, *args: Any, **kwargs: Any
        ) -> None: ...

    class StockTransport(stock.Transport):
        """kombu's transport on Redis."""

        _callbacks: dict[str, Callable[[Any], Any]]

        def _deliver(self, message: dict[str, Any], queue: str | None) -> None: ...

else:
    StockQoS, StockPoller = stock.QoS, stock.MultiChannelPoller
    StockChannel, StockTransport = stock.Channel, stock.Transport


class RedisConnection(Protocol):
    """What is asked of a connection of redis-py: commands are sent without waiting for their answers."""

    _sock: Any
    protocol: int | str
    handshake_metadata: dict[Any, Any] | None

    def connect(self) -> None: ...  # noqa: D102
    def disconnect(self) -> None: ...  # noqa: D102
    def send_command(self, *args: Any) -> None: ...  # noqa: D102
    def can_read(self, timeout: float = 0) -> bool: ...  # noqa: D102
    def read_response(self, *, push_request: bool = False) -> Any: ...  # noqa: D102


def name_transports(aliases: dict[str, Any]) -> None:
    """Has kombu use these transports for these URL schemes, also where it has looked them up before."""
    transports.TRANSPORT_ALIASES.update(aliases)
    remembered: dict[str, Any] = transports._transport_cache  # type: ignore[attr-defined]  # missing from the stubs
    for name in aliases:
        remembered.pop(name, None)
