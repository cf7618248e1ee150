"""The queues of a broker from the outside: publishing to them, their size, purging them, and the clients for that."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from kombu.log import get_logger
from kombu.utils.json import dumps
from kombu.utils.objects import cached_property
from redis import Redis
from redis.exceptions import OutOfMemoryError

from tasks.transport import connecting
from tasks.transport.delayed import due_seconds
from tasks.transport.kombu_privates import StockChannel
from tasks.transport.names import Names
from tasks.transport.options import Options

if TYPE_CHECKING:
    from tasks.transport.transport import Transport

logger = get_logger(__name__)


class QueuesChannel(StockChannel):
    """A stock channel that knows of delayed messages and makes one client instead of one a command.

    A queue's size and its purging include what is delayed, as they include in stock what is not due and not yet taken.
    What was put aside as malformed is not counted and not purged.
    """

    connection: Transport
    _shared_client: Any = None

    @cached_property
    def names(self) -> Names:
        """How this broker's keys are called."""
        return Names(
            prefix=self.global_keyprefix,
            separator=self.sep,
            steps=tuple(self.priority_steps),
            unacked_key=self.unacked_key,
            unacked_index_key=self.unacked_index_key,
        )

    @cached_property
    def client(self) -> Any:
        """The client to consume with. Raises ClusterRefused."""
        return connecting.open_client(self)

    @property
    def plain_client(self) -> Redis:
        """A client that does not add the key prefix: all of `names` has it already."""
        return Redis(connection_pool=self.pool)

    @contextmanager
    def conn_or_acquire(self, client: Any = None) -> Iterator[Any]:
        """The client given, or the channel's."""
        if client is None:
            if self._shared_client is None or self._shared_client.connection_pool is not self.pool:
                self._shared_client = self.create_client()
            client = self._shared_client
        yield client

    def create_client(self, *, asynchronous: bool = False) -> Any:
        """A client on one of the channel's two pools."""
        return self._create_client(asynchronous=asynchronous)

    def own_pool(self) -> Any:
        """A pool like the channel's that is not closed with it."""
        sentinels = self._sentinel_manager
        try:
            return self._get_pool()
        finally:
            self._sentinel_manager = sentinels

    def forget_pools(self) -> None:
        """Closes both pools; the next client makes new ones."""
        self._disconnect_pools()

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        params = super()._connparams(asynchronous) | connecting.protocol_options(self.connection.speaks_resp3)
        if params.get("socket_timeout") is None:  # nothing here waits in the server, so silence has no other meaning
            params["socket_timeout"] = Options.read(self.connection.options).silence_seconds
        return params

    def _put(self, queue: str, message: dict[str, Any], **kwargs: Any) -> None:
        due = due_seconds(message)
        if due is None or due <= time.time():
            super()._put(queue, message, **kwargs)
            return
        key, scored = self.names.delayed(queue), {dumps(message): due}
        batch = kwargs.get("_publish_batch")
        if batch is None:
            self.plain_client.zadd(key, scored)
        else:
            batch.add("zadd", key.removeprefix(self.global_keyprefix), scored)

    def _size(self, queue: str) -> int:
        return super()._size(queue) + self.plain_client.zcard(self.names.delayed(queue))

    def _purge(self, queue: str) -> int:
        key = self.names.delayed(queue)
        with self.plain_client.pipeline() as pipe:
            pipe.zcard(key)
            pipe.delete(key)
            delayed: int = pipe.execute()[0]
        return super()._purge(queue) + delayed

    def _has_queue(self, queue: str, **kwargs: Any) -> bool:
        return bool(super()._has_queue(queue, **kwargs) or self.plain_client.exists(self.names.delayed(queue)))

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        """A consumer needs no binding, and it is consumers that make room on a full server: they must get to work."""
        try:
            super()._queue_bind(exchange, routing_key, pattern, queue)
        except OutOfMemoryError as error:
            logger.warning("transport: can't write down that %r goes to %r: %s", routing_key, queue, error)

    def _delete(self, queue: str, exchange: str, routing_key: str, pattern: str, *args: Any, **kwargs: Any) -> None:
        try:
            super()._delete(queue, exchange, routing_key, pattern, *args, **kwargs)
            self.plain_client.delete(self.names.delayed(queue))
        except self.connection_errors as error:
            if not self._closing:  # a channel that closes must come to its end, also when the broker is gone
                raise
            logger.debug("transport: queue %s was not deleted: %s", queue, error)
