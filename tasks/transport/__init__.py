"""A Redis transport for Celery that loses nothing and does its work in batches.

    from tasks import transport

    transport.install()
    app = Celery(broker="redis://…")

A message is at every moment in its queue, delayed, put aside, or held under a lease that its holder renews; it moves
between these in single steps. Stock publishers, workers, Flower and remote control share the queues.
"""

from __future__ import annotations

from kombu.transport import TRANSPORT_ALIASES

from tasks.transport.channel import Channel
from tasks.transport.connecting import ClusterRefused
from tasks.transport.kombu_privates import name_transports
from tasks.transport.transport import SentinelTransport, Transport

__all__ = ["Channel", "ClusterRefused", "SentinelTransport", "Transport", "install", "uninstall"]

STOCK = {name: TRANSPORT_ALIASES[name] for name in ("redis", "rediss", "sentinel")}
OURS = {
    "redis": "tasks.transport:Transport",
    "rediss": "tasks.transport:Transport",
    "sentinel": "tasks.transport:SentinelTransport",
}


def install() -> None:
    """From now on `redis://`, `rediss://`, `redis+socket://` and `sentinel://` mean this transport in this process.

    Naming it as `broker_transport` would not do: kombu goes by the URL when it fails over, and for a unix socket.
    """
    name_transports(OURS)


def uninstall() -> None:
    """From now on they mean kombu's own again; connections that are open stay as they are."""
    name_transports(STOCK)
