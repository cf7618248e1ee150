"""Keeps what one connection's consumers hold: a thread that renews leases, sends late acknowledgements, gives back what
is not wanted any more, and restores what dead holders left.

It has a connection of its own and outlives the channels, so that a task that runs while the broker goes away and comes
back stays held, and its acknowledgement goes through. It lives in the process that started it, not in its children.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from kombu.log import get_logger
from redis.exceptions import RedisError, ResponseError

from tasks.transport import life, scripts
from tasks.transport.acks import Acks

if TYPE_CHECKING:
    from redis import Redis

    from tasks.transport.names import Names
    from tasks.transport.options import Options

logger = get_logger(__name__)

ERRORS = (RedisError, OSError)
MOST_PAUSE_SECONDS = 2.0


class Keeper:
    """What is held, and the thread that keeps it. All methods may be called from any thread."""

    def __init__(self, names: Names, options: Options, connect: Callable[[], Redis]) -> None:
        self.names, self.options = names, options
        self.acks = Acks()
        self._connect = connect
        self._client: Redis | None = None
        self._held: dict[str, None] = {}
        self._returns: deque[tuple[str, bool]] = deque()
        self._users = 0
        self._armed = False
        self._failing = self._hung = False
        self._wake = threading.Event()
        self._sending = threading.Lock()
        self._starting = threading.Lock()
        self._alive = False
        self._process = os.getpid()

    def attach(self) -> None:
        """One more consumer lives by it; with the first it comes to life."""
        with self._starting:
            self._users += 1
            if self._client is None:
                self._client = self._connect()
            if not self._alive:
                self._alive = True
                atexit.register(self.end)
                threading.Thread(target=self._run, name="transport-keeper", daemon=True).start()

    def detach(self) -> None:
        """One consumer less. With the last it ends once nothing is held any more."""
        self._users -= 1
        self._wake.set()

    def hold(self, tags: Iterable[str]) -> None:
        """The server has written down that these are ours."""
        self._held.update(dict.fromkeys(tags))

    def holds(self, tag: str) -> bool:
        """Whether it is ours."""
        return tag in self._held

    def forget(self, tag: str) -> None:
        """It is not ours any more."""
        self._held.pop(tag, None)

    def ack(self, tag: str) -> None:
        """It is done. The server hears of it with the next claim, or shortly."""
        self._held.pop(tag, None)
        self.acks.add(tag)
        if not self._armed:
            self._armed = True
            self._wake.set()

    def give_back(self, tags: Iterable[str], *, front: bool) -> None:
        """They go back to their queues, to be the next or the last, as soon as the server can be reached."""
        if os.getpid() != self._process:
            return
        for tag in tags:
            self._held.pop(tag, None)
            self._returns.append((tag, front))
        self._wake.set()

    def end(self) -> None:
        """The process ends: all that is held goes back at once."""
        if os.getpid() != self._process or self._client is None:
            return
        self.give_back(list(self._held), front=True)
        try:
            self.flush()
        except ERRORS as error:
            logger.warning("transport: %d messages come back when their lease runs out: %s", len(self._returns), error)

    def flush(self) -> None:
        """Sends what is to be acknowledged and given back. Raises what redis-py raises; nothing is forgotten then."""
        assert self._client is not None
        with self._sending:
            while tags := self.acks.take():
                try:
                    scripts.settle(self._client, self.names, tags)
                except BaseException:
                    self.acks.put_back(tags)
                    raise
            while self._returns:
                self._send_back(self._client)

    def _send_back(self, client: Redis) -> None:
        front = self._returns[0][1]
        tags: list[str] = []
        for tag, to_front in list(self._returns):
            if to_front is not front or len(tags) == scripts.TAGS_AT_ONCE:
                break
            tags.append(tag)
        scripts.give_back(client, self.names, tags, front=front)
        for _ in tags:
            self._returns.popleft()

    def _run(self) -> None:
        beat_at = pause_seconds = 0.0
        while self._is_needed():
            self._wait(beat_at, pause_seconds)
            try:
                if is_beat := time.monotonic() >= beat_at:  # after an error, renewing comes before all else
                    beat_at = time.monotonic() + self.options.lease_seconds / 4
                    self._renew()
                self.flush()
                if is_beat:
                    self._restore()
                pause_seconds = self._went_well()
            except ERRORS as error:
                beat_at, pause_seconds = 0.0, self._went_wrong(error, pause_seconds)
        atexit.unregister(self.end)
        self._disconnect()

    def _is_needed(self) -> bool:
        with self._starting:
            needed = bool(self._users > 0 or self._held or self.acks or self._returns)
            self._alive = needed
            return needed

    def _wait(self, beat_at: float, pause_seconds: float) -> None:
        if pause_seconds:
            time.sleep(pause_seconds)
        elif self._wake.wait(max(0.0, beat_at - time.monotonic())):
            time.sleep(self.options.ack_delay_seconds)  # more will come, and the next claim may take them along
        self._wake.clear()
        self._armed = False

    def _renew(self) -> None:
        assert self._client is not None
        silent = life.overdue(self.options.hung_seconds)
        if silent and not self._hung:
            logger.critical(
                "transport: %s gave no sign of life for %g s: what this process holds is left to others",
                silent,
                self.options.hung_seconds,
            )
        self._hung = silent is not None
        held = list(self._held)
        if silent or not held:
            return
        renewed = scripts.beat(self._client, self.names, held, self.options.lease_seconds)
        if renewed < len(held):
            logger.debug("transport: %d of %d leases were not ours any more", len(held) - renewed, len(held))

    def _restore(self) -> None:
        assert self._client is not None
        restored = scripts.restore(self._client, self.names, self.options.lease_seconds)
        if restored:
            logger.warning("transport: gave back %d messages whose holders died", restored)

    def _went_well(self) -> float:
        if self._failing:
            logger.info("transport: leases are kept again")
        self._failing = False
        return 0.0

    def _went_wrong(self, error: Exception, pause_seconds: float) -> float:
        if not self._failing:
            logger.warning("transport: leases can't be kept now, trying again: %s", error)
        self._failing = True
        if isinstance(error, ResponseError):  # such as a replica that was the primary: look for the new one
            self._disconnect()
        return min(max(pause_seconds * 2, 0.05), MOST_PAUSE_SECONDS, self.options.lease_seconds / 8)

    def _disconnect(self) -> None:
        assert self._client is not None
        self._client.connection_pool.disconnect()
