"""Hands what Celery must be told from the loop's thread to Celery's own, in order and in batches.

Celery's callbacks touch its sets, its connection and its acks, so they run where its event loop (the hub) runs. The
hub keeps no order among what is queued with `call_soon`, and a reader's callbacks take effect in the same turn: hence
a queue of our own and a socket pair that the hub reads.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from celery.utils.log import get_logger

HELD_BACK_SECONDS = 0.005
"""The longest that reports wait for company while the loop is busy, so that acks are not late."""

Report = tuple[Callable[..., object], tuple[Any, ...]]

log: logging.Logger = get_logger(__name__)


class Bell:
    """Rung by any thread, heard by the one that listens. Also safe to wait for inside a signal handler."""

    def __init__(self) -> None:
        self._listener, self._ringer = socket.socketpair()
        self._listener.setblocking(False)
        self._ringer.setblocking(False)

    def fileno(self) -> int:
        """Readable once it has been rung."""
        return self._listener.fileno()

    def ring(self) -> None:
        """Wakes the listener."""
        with contextlib.suppress(OSError):  # full: it has been rung often enough; closed: nobody listens any more
            self._ringer.send(b"\0")

    def hush(self) -> None:
        """Makes it silent until it is rung again."""
        with contextlib.suppress(OSError):
            self._listener.recv(4096)

    def wait(self, seconds: float | None = None) -> None:
        """Waits until it is rung, or until the time is up."""
        poll = select.poll()
        poll.register(self._listener, select.POLLIN)
        poll.poll(None if seconds is None else seconds * 1000)


class Reports:
    """What Celery must be told, in order."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.bell = Bell()
        self._loop = loop
        self._queue: deque[Report] = deque()
        self._armed_at: float | None = None

    def __len__(self) -> int:
        return len(self._queue)

    def tell(self, callback: Callable[..., object], *arguments: Any) -> None:
        """Has Celery's thread call `callback(*arguments)`. Called on the loop's thread."""
        self._queue.append((callback, arguments))
        now = time.monotonic()
        if self._armed_at is None:
            self._armed_at = now
            self._loop.call_soon(self.bell.ring)  # after the tasks that are ready now
        elif now - self._armed_at > HELD_BACK_SECONDS:
            self._armed_at = now
            self.bell.ring()

    def answer(self) -> None:
        """Makes the calls that wait. One that fails is logged and does not keep the others back."""
        self.bell.hush()
        self._armed_at = None
        queue = self._queue
        while queue:
            callback, arguments = queue.popleft()
            try:
                callback(*arguments)
            except Exception:
                log.exception("A callback of Celery's failed: %r", callback)


class AnsweringThread:
    """Makes the calls where Celery has no hub."""

    def __init__(self, reports: Reports) -> None:
        self._reports, self._stopping = reports, False
        self._thread = threading.Thread(target=self._serve, name="celery-asyncio-callbacks", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends it; from here on somebody else answers."""
        self._stopping = True
        self._reports.bell.ring()
        self._thread.join()

    def _serve(self) -> None:
        while not self._stopping:
            self._reports.bell.wait()
            self._reports.answer()
