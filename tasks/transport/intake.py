"""How one channel takes messages: it claims, delivers, and waits until a claim is worth it again.

                 room for more                    the queues are empty
    IDLE ──────────────────────▶ CLAIMING ──────────────────────────────▶ WAITING
      ▲                             │ there may be more, or an error          │
      ├─────────────────────────────┘                                        │
      └──────────────────────────────────────────────────────────────────────┘
                    told of a message, or one is due, or it is time to look

Nobody blocks on the connection: kombu's poller calls `start` before it polls and `on_readable` when there is an answer.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from kombu.log import get_logger
from redis.exceptions import NoScriptError, ResponseError
from redis.exceptions import TimeoutError as SilentServer

from tasks.transport.connecting import ClusterRefused, is_of_cluster
from tasks.transport.messages import NoMessage, decode, tag_in
from tasks.transport.scripts import CLAIM, TAGS_AT_ONCE, Claimed, Source, claim_words, read_claim
from tasks.transport.tracking import Watch

if TYPE_CHECKING:
    from tasks.transport.channel import Channel

logger = get_logger(__name__)

ANSWER_SECONDS = 1.0
"""How long a closing channel waits for the answer to a claim; one that comes later returns with its lease."""

MOST_PAUSE_SECONDS = 2.0


class Asked(NamedTuple):
    """A claim on its way."""

    sources: list[Source]
    want: int
    acks: list[str]
    overdue_at: float


class Intake:
    """One channel's way to messages."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._watch = Watch(channel.options.poll_seconds)
        self._asked: Asked | None = None
        self._waiting_until: float | None = None
        self._prepared_socket: Any = None
        self._lost_since_answer = self._refusals = 0
        self._not_before = 0.0
        self.backlog: deque[tuple[dict[str, Any], str]] = deque()

    def start(self) -> None:
        """Sends a claim, if there is room for messages. Raises what redis-py raises."""
        channel, now = self._channel, time.monotonic()
        sources = channel.sources()
        want = min(channel.room(), channel.options.claim_most, TAGS_AT_ONCE)
        if self.backlog or not sources or want <= 0 or now < self._not_before:
            return
        connection = channel.client.connection
        try:
            self._prepare(connection)
        except ResponseError as error:
            self._refused(error)
            return
        acks = channel.keeper.acks.take()
        self._asked = Asked(sources, want, acks, now + channel.options.silence_seconds)
        share = None if channel.shares_evenly else want
        try:
            words = claim_words(channel.names, sources, want, channel.options.lease_seconds, acks, share)
            connection.send_command(*CLAIM.command(*words))
        except BaseException:
            self._unanswered()
            raise
        channel.expect_answer(connection, now)
        channel.poller.call_at(self._asked.overdue_at)

    def on_readable(self) -> bool | None:
        """Reads an answer or an announcement. True when messages were delivered. Raises what redis-py raises."""
        if self._asked is None:
            self._read_announcements()
            return None
        try:
            claimed = self._read_answer(self._asked)
        except ResponseError as error:
            self._refused(error)
            return None
        except self._channel.connection_errors as error:
            self._lost(error)
            return None
        self._take(claimed)
        if claimed.wait_milliseconds != 0:
            self._wait(self._watch.patience_seconds(claimed.wait_milliseconds))
        return self.deliver() if self.backlog else None

    def deliver(self) -> bool:
        """Hands over what was claimed, as much as fits into one turn of the event loop."""
        channel, backlog = self._channel, self.backlog
        end = time.monotonic() + channel.options.drain_seconds
        try:
            while backlog:
                channel.deliver(*backlog.popleft())
                if time.monotonic() > end:
                    break
        finally:
            channel.poller.call_again(self, bool(backlog))
        return True

    def wake(self) -> None:
        """There may be something to claim."""
        if self._waiting_until is not None:
            self._waiting_until = None
            self._channel.expect_nothing()

    def wake_if_due(self, now: float) -> float | None:
        """Ends a wait that has lasted long enough; otherwise says until when it lasts, on the monotonic clock."""
        if self._asked is not None and now < self._asked.overdue_at:
            return self._asked.overdue_at
        if self._asked is not None:
            self._overdue()
        if self._waiting_until is not None and now >= self._waiting_until:
            self.wake()
        return self._waiting_until or (self._not_before if self._not_before > now else None)

    def on_disconnect(self) -> None:
        """The connection is gone."""
        self._unanswered()
        self._waiting_until = self._prepared_socket = None

    def close(self) -> None:
        """Takes what may still be on its way, so that it can be given back at once."""
        lost: tuple[type[Exception], ...] = (ResponseError, *self._channel.connection_errors)
        try:
            if self._asked is not None and self._channel.client.connection.can_read(timeout=ANSWER_SECONDS):
                self._take(self._read_answer(self._asked))
        except lost as error:
            logger.debug("transport: the last claim stays unanswered: %s", error)
        self._unanswered()
        self._waiting_until = None

    def _prepare(self, connection: Any) -> None:
        if connection._sock is self._prepared_socket and self._prepared_socket is not None:
            return
        self._watch.begin(connection)
        connection.send_command("SCRIPT", "LOAD", CLAIM.text)
        connection.read_response()
        self._prepared_socket = connection._sock

    def _read_answer(self, asked: Asked) -> Claimed:
        reply = self._channel.client.connection.read_response()
        self._asked = None
        self._channel.expect_nothing()
        self._lost_since_answer = 0
        if self._refusals:
            logger.info("transport: the broker gives messages again")
        self._refusals = 0
        return read_claim(reply, asked.sources)

    def _take(self, claimed: Claimed) -> None:
        if claimed.parked:
            logger.error("transport: put %d malformed messages aside, see <queue>.malformed", claimed.parked)
        if not claimed.messages:
            return
        self._watch.found_something()
        self._channel.rotate()
        for queue, raw in claimed.messages:
            try:
                message, tag = decode(raw)
            except NoMessage as error:
                self._channel.park(queue, raw, tag_in(raw), error)
            else:
                self._channel.hold(queue, tag)
                self.backlog.append((message, queue))

    def _wait(self, seconds: float) -> None:
        connection = self._channel.client.connection
        if connection.can_read(timeout=0):  # an announcement that came together with the answer
            self._read_announcements()
            return
        self._waiting_until = time.monotonic() + seconds
        self._channel.expect_announcement(connection)
        self._channel.poller.call_at(self._waiting_until)

    def _read_announcements(self) -> None:
        connection = self._channel.client.connection
        try:
            while connection.can_read(timeout=0):
                connection.read_response(push_request=True)
        except self._channel.connection_errors as error:
            self._lost(error)
        self.wake()

    def _unanswered(self) -> None:
        if self._asked is not None:
            self._channel.keeper.acks.put_back(self._asked.acks)
            self._asked = None
            self._channel.expect_nothing()

    def _overdue(self) -> None:
        """A claim is answered at once; where nothing comes, a route was lost without a word to either end."""
        if not self._channel.client.connection.can_read(timeout=0):  # else this process was away, not the server
            self._lost(SilentServer(f"no answer for {self._channel.options.silence_seconds:g} s"))

    def _lost(self, error: Exception) -> None:
        """Connects anew by itself once; if that does not help, the consumer is told."""
        self._channel.client.connection.disconnect()
        self._lost_since_answer += 1
        if self._lost_since_answer > 1:
            raise error
        logger.info("transport: lost a connection, connecting anew: %s", error)

    def _refused(self, error: ResponseError) -> None:
        """The server answers but gives nothing: a replica that was the primary, a missing permission, a full disk."""
        if is_of_cluster(error):
            raise ClusterRefused from error
        self._unanswered()
        if isinstance(error, NoScriptError):
            self._prepared_socket = None
            return
        if not self._refusals:
            logger.warning("transport: the broker refuses to give messages, trying again: %s", error)
        self._refusals += 1
        self._channel.client.connection.disconnect()
        pause_seconds = min(0.1 * 2.0**self._refusals, MOST_PAUSE_SECONDS)
        self._not_before = time.monotonic() + pause_seconds
        self._channel.poller.call_at(self._not_before)
