"""A consumer in the test's own process, drained by hand."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kombu import Connection, Consumer, Queue

from tests.tasks.transport.publishers import connected


class Taking:
    """A consumer and what it was given."""

    def __init__(self, connection: Connection, *queues: str, prefetch: int = 0, **options: Any) -> None:
        self.connection = connection
        self.channel: Any = connection.channel()
        self.messages: list[Any] = []
        self.consumer = Consumer(
            self.channel,
            [Queue(name, exchange="", routing_key=name, no_declare=True) for name in queues],
            on_message=self.messages.append,
            accept=["json"],
            **options,
        )
        if prefetch:
            self.consumer.qos(prefetch_count=prefetch)
        self.consumer.consume()

    @property
    def tags(self) -> list[str]:
        """The delivery tags of what it was given."""
        return [message.delivery_tag for message in self.messages]

    def drain(self, until: int, deadline_seconds: float = 5.0) -> None:
        """Drains until it has been given so many messages."""
        give_up_at = time.monotonic() + deadline_seconds
        while len(self.messages) < until:
            self._drain_once(give_up_at - time.monotonic())

    def drain_for(self, seconds: float) -> None:
        """Drains as long as that, whatever comes."""
        give_up_at = time.monotonic() + seconds
        while (left := give_up_at - time.monotonic()) > 0:
            try:
                self._drain_once(left)
            except TimeoutError:
                return

    def _drain_once(self, seconds: float) -> None:
        if seconds <= 0:
            raise TimeoutError(f"was given only {self.tags}")
        try:
            self.connection.drain_events(timeout=seconds)
        except TimeoutError:
            raise TimeoutError(f"was given only {self.tags}") from None


@contextmanager
def taking(redis_url: str, *queues: str, prefetch: int = 0, no_ack: bool = False, **options: Any) -> Iterator[Taking]:
    """A consumer of these queues, through our transport with these options."""
    with connected(redis_url, **options) as connection:
        yield Taking(connection, *queues, prefetch=prefetch, no_ack=no_ack)
