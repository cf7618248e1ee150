"""How the transport connects: RESP3 where the server speaks it, and never to a Redis Cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kombu.log import get_logger
from redis import Redis
from redis.exceptions import ResponseError
from redis.maint_notifications import MaintNotificationsConfig

from tasks.transport.options import Options

if TYPE_CHECKING:
    from tasks.transport.queues import QueuesChannel

logger = get_logger(__name__)

LEAST_SILENCE_SECONDS = 1.0
"""How long a keeper waits for an answer at least, however short its lease: a busy server may need that long."""


class ClusterRefused(Exception):
    """The broker is a Redis Cluster, where no script can reach a queue and what is held in one step."""

    def __init__(self) -> None:
        super().__init__(
            "The broker is a Redis Cluster. This transport moves messages between keys in single steps, which a "
            "cluster can't do: use one Redis or Valkey server, or several watched over by Sentinel."
        )


def protocol_options(speaks_resp3: bool) -> dict[str, Any]:
    """What redis-py must know of the protocol. Its maintenance notifications are commands some servers refuse."""
    if not speaks_resp3:
        return {"protocol": 2}
    return {"protocol": 3, "maint_notifications_config": MaintNotificationsConfig(enabled=False)}


def open_client(channel: QueuesChannel) -> Any:
    """A client for consuming, on a server that has been found fit. Raises ClusterRefused.

    A server, or a proxy before it, that knows no RESP3 is spoken to as of old.
    """
    client: Any = channel.create_client(asynchronous=True)
    try:
        _check(client)
    except ResponseError as error:
        if not is_unknown_hello(error):
            raise
        logger.warning("transport: the broker does not speak RESP3, so idle consumers look for messages themselves")
        channel.connection.speaks_resp3 = False
        channel.forget_pools()
        client = channel.create_client(asynchronous=True)
    return client


def is_unknown_hello(error: Exception) -> bool:
    """Whether the server means that it knows no RESP3."""
    text = str(error).lower()
    return "noproto" in text or ("unknown command" in text and "hello" in text)


def is_of_cluster(error: Exception) -> bool:
    """Whether only a node of a cluster answers so."""
    return str(error).startswith(("CROSSSLOT", "MOVED", "CLUSTERDOWN")) or "hash to the same slot" in str(error)


def keeper_client(channel: QueuesChannel) -> Redis:
    """A client of the keeper's own, which does not close with the channel.

    It gives up on a silent server early enough to connect anew, and renew, long before a lease has run out.
    """
    pool = channel.own_pool()
    most_seconds = max(Options.read(channel.connection.options).lease_seconds / 4, LEAST_SILENCE_SECONDS)
    for name in ("socket_timeout", "socket_connect_timeout"):
        if pool.connection_kwargs.get(name):
            pool.connection_kwargs[name] = min(pool.connection_kwargs[name], most_seconds)
    return Redis(connection_pool=pool)


def _check(client: Any) -> None:
    connection = client.connection_pool.get_connection()
    try:
        connection.connect()
        said = connection.handshake_metadata or {}
        if (said.get(b"mode") or said.get("mode")) in {b"cluster", "cluster"}:
            raise ClusterRefused
    finally:
        client.connection_pool.release(connection)
