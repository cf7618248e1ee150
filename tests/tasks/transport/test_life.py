"""Each consuming connection of a process is missed when its loop hangs, whatever the others do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kombu.asynchronous import Hub

from tasks.transport import life
from tests.tasks.transport.consuming import Taking
from tests.tasks.transport.publishers import connected

AT_ONCE = -1.0
"""Any sign is older than this."""


@contextmanager
def consuming_on_a_loop(redis_url: str) -> Iterator[Taking]:
    """A consumer as a worker has it."""
    with connected(redis_url) as connection:
        transport: Any = connection.transport
        transport.register_with_event_loop(connection.connection, Hub())
        yield Taking(connection, "q")


def test_a_loop_is_still_missed_when_another_connection_of_its_process_has_been_closed(redis_url: str) -> None:
    with consuming_on_a_loop(redis_url):
        with connected(redis_url) as publishing:
            assert publishing.default_channel
        assert life.overdue(AT_ONCE) == "the consumer's event loop"
    assert life.overdue(AT_ONCE) is None


def test_two_loops_are_both_missed(redis_url: str) -> None:
    with consuming_on_a_loop(redis_url) as first:
        with consuming_on_a_loop(redis_url):
            first.consumer.cancel()
            assert life.overdue(AT_ONCE) == "the consumer's event loop"
            first.consumer.consume()
        assert life.overdue(AT_ONCE) == "the consumer's event loop"
        first.consumer.cancel()
        assert life.overdue(AT_ONCE) is None
