"""Counts kept in this process and handed on in batches, about once a second, so that they can be added up elsewhere.

A batch that could not be handed on is kept and tried again: counts are late then, not lost. They are lost only with the
process itself, and then at most those since the last batch.
"""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Mapping

import msgspec
import structlog

Push = Callable[[Mapping[str, float]], None]
"""Adds amounts to totals by field, all or none, and raises when it could not. It may block: a thread of ours waits."""

Key = tuple[str, tuple[str, ...]]
"""A metric's name and its label values."""

MAX_FIELDS = 10_000
"""More different counts than this are not kept while nobody takes them: something labels without bounds."""


def encode(metric: str, labels: tuple[str, ...]) -> str:
    """The field of a total: a JSON list of the metric's name and its label values, in the order they are declared."""
    return msgspec.json.encode((metric, *labels)).decode()


def decode(field: str) -> tuple[str, tuple[str, ...]]:
    """The metric and label values of a field. Raises ValueError when it is not one of ours."""
    try:
        metric, *labels = msgspec.json.decode(field, type=list[str])
    except msgspec.DecodeError as error:
        raise ValueError(f"not a total: {field!r}") from error
    return metric, tuple(labels)


class Totals:
    """Counts of this process. `add` may be called from any thread, and goes on in a forked child with nothing counted.

    `flush_seconds` is how long a count waits for company before its batch goes out. The thread that sends starts with
    the first count, and sleeps while there is nothing to send.
    """

    def __init__(self, push: Push, flush_seconds: float = 1.0) -> None:
        self._push = push
        self._flush_seconds = flush_seconds
        self._log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)
        self._start_empty()
        _renew_in_children(weakref.ref(self))
        atexit.register(self.flush)

    def _start_empty(self) -> None:
        """What a new process begins with: no counts, for its parent sends its own, and locks that nobody holds."""
        self._counted: deque[tuple[Key, float]] = deque()
        self._pending: dict[Key, float] = {}
        self._start_lock = threading.Lock()
        self._flush_lock = threading.Lock()
        self._work = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._failing = False

    def add(self, metric: str, *labels: str, amount: float = 1.0) -> None:
        """Counts `amount` more of a metric with these label values.

        It takes no lock: two busy threads that count would spend more on waiting for each other than on all else.
        """
        self._counted.append(((metric, labels), amount))
        if self._thread is None:
            self._start()
        if not self._work.is_set():
            self._work.set()

    def flush(self) -> bool:
        """Hands on what was counted, now. False when it could not; it is kept then."""
        with self._flush_lock:
            self._gather()
            if not self._pending:
                return True
            try:
                self._push({encode(*key): amount for key, amount in self._pending.items()})
            except Exception as error:
                self._tell(error)
                return False
            self._pending = {}
            self._tell(None)
            return True

    def close(self) -> None:
        """Hands on the last counts and ends the thread. Later counts go out with an explicit `flush` only."""
        atexit.unregister(self.flush)
        self._stop.set()
        self._work.set()
        if self._thread is not None:
            self._thread.join()
        self.flush()

    def _start(self) -> None:
        with self._start_lock:
            if self._thread is None and not self._stop.is_set():
                self._thread = threading.Thread(target=self._run, name="moorage-totals", daemon=True)
                self._thread.start()

    def _gather(self) -> None:
        for _ in range(len(self._counted)):  # and what is counted meanwhile is for the next time
            key, amount = self._counted.popleft()
            if key in self._pending or len(self._pending) < MAX_FIELDS:
                self._pending[key] = self._pending.get(key, 0.0) + amount

    def _run(self) -> None:
        while not self._stop.is_set():
            self._work.wait()
            self._stop.wait(self._flush_seconds)
            self._work.clear()
            if not self.flush():
                self._work.set()

    def _tell(self, error: Exception | None) -> None:
        """One line when handing on begins to fail and one when it works again, not one a second in between."""
        if error is not None and not self._failing:
            self._log.warning("metrics.push_failed", error=error)
        if error is None and self._failing:
            self._log.info("metrics.push_recovered")
        self._failing = error is not None


def _renew_in_children(reference: weakref.ref[Totals]) -> None:
    """The hook stays for as long as the process, so it must not keep the totals alive."""

    def renew() -> None:
        if (totals := reference()) is not None:
            totals._start_empty()

    os.register_at_fork(after_in_child=renew)
