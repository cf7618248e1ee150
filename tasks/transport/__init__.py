"""A Redis transport for Celery that loses nothing and does its work in batches.

    from tasks import transport

    transport.install()
    app = Celery(broker="redis://…")

A message is at every moment in its queue, delayed, put aside, or held under a lease that its holder renews; it moves
between these in single steps. Stock publishers, workers, Flower and remote control share the queues.
"""

from __future__ import annotations

from kombu import transport as kombu_transports

from tasks.transport.channel import Channel
from tasks.transport.connecting import ClusterRefused
from tasks.transport.transport import SentinelTransport, Transport

__all__ = ["Channel", "ClusterRefused", "SentinelTransport", "Transport", "install", "uninstall"]

STOCK = {name: kombu_transports.TRANSPORT_ALIASES[name] for name in ("redis", "rediss", "sentinel")}
OURS = {
    "redis": "tasks.transport:Transport",
    "rediss": "tasks.transport:Transport",
    "sentinel": "tasks.transport:SentinelTransport",
}


def install() -> None:
    """From now on `redis://`, `rediss://`, `redis+socket://` and `sentinel://` mean this transport in this process.

    Naming it as `broker_transport` would not do: kombu goes by the URL when it fails over, and for a unix socket.
    """
    _use(OURS)


def uninstall() -> None:
    """From now on they mean kombu's own again; connections that are open stay as they are."""
    _use(STOCK)


def _use(aliases: dict[str, str]) -> None:
    kombu_transports.TRANSPORT_ALIASES.update(aliases)
    for name in aliases:
        kombu_transports._transport_cache.pop(name, None)
