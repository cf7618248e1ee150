"""How the command line shows an upload, a task or a download going on: bars on a terminal, else a line now and then.

Everything goes to standard error; standard output belongs to results.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Protocol, TextIO

from service.client import TaskStatus
from tasks.clock import Clock, SystemClock

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

STEP_PERCENT = 10
QUIET_SECONDS = 5.0
"""A line is due after so many per cent, or after so long without one."""


class Display(Protocol):
    """What a command tells about one file."""

    def moved(self, verb: str, done_bytes: int, total_bytes: int | None) -> None:
        """So many bytes are `verb` ("sent", "received"); `total_bytes` is None when nobody knows."""

    def task(self, status: TaskStatus) -> None:
        """The task stands here now."""

    def close(self) -> None:
        """Nothing more will be told."""


class Pace:
    """Decides when the next plain line is due. Pure but for what it remembers."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._stage = ""
        self._percent = 0.0
        self._told_at = clock.monotonic()

    def is_due(self, stage: str, percent: float | None) -> bool:
        """Whether to tell that `stage` is at `percent`; saying yes counts as having told it."""
        now = self._clock.monotonic()
        percent = percent or 0.0
        if stage != self._stage:
            self._stage, self._percent = stage, 0.0
        step = percent - self._percent >= STEP_PERCENT or (percent >= 100 > self._percent)
        if not step and now - self._told_at < QUIET_SECONDS:
            return False
        self._percent = percent - percent % STEP_PERCENT
        self._told_at = now
        return True


class PlainDisplay:
    """One line every ten per cent or five seconds, and one for every change of state."""

    def __init__(self, name: str, output: TextIO, clock: Clock) -> None:
        self._name, self._output = name, output
        self._pace = Pace(clock)
        self._state = ""

    def moved(self, verb: str, done_bytes: int, total_bytes: int | None) -> None:
        """See Display."""
        percent = None if total_bytes is None else 100.0 * done_bytes / max(total_bytes, 1)
        if self._pace.is_due(verb, percent):
            total = "" if total_bytes is None else f" of {readable_bytes(total_bytes)}"
            share = "" if percent is None else f" {percent:.0f} %:"
            self._tell(f"{verb}{share} {readable_bytes(done_bytes)}{total}")

    def task(self, status: TaskStatus) -> None:
        """See Display."""
        changed, self._state = status.state != self._state, status.state
        if self._pace.is_due(status.state, status.progress) or changed:
            self._tell(describe(status))

    def close(self) -> None:
        """See Display."""

    def _tell(self, words: str) -> None:
        print(f"{self._name}: {words}", file=self._output, flush=True)


class BarDisplay:
    """A bar for the bytes and, under it, one for the task."""

    def __init__(self, name: str, progress: Progress) -> None:
        self._name, self._progress = name, progress
        self._bytes: TaskID | None = None
        self._task: TaskID | None = None
        progress.start()

    def moved(self, verb: str, done_bytes: int, total_bytes: int | None) -> None:
        """See Display."""
        if self._bytes is None:
            self._bytes = self._progress.add_task(self._name, total=total_bytes, words=verb)
        total = "" if total_bytes is None else f" of {readable_bytes(total_bytes)}"
        words = f"{verb} {readable_bytes(done_bytes)}{total}"
        self._progress.update(self._bytes, completed=done_bytes, total=total_bytes, words=words)

    def task(self, status: TaskStatus) -> None:
        """See Display."""
        if self._task is None:
            self._task = self._progress.add_task(self._name, total=100.0, words=status.state)
        percent = 100.0 if status.state == "SUCCESS" else status.progress or 0.0
        self._progress.update(self._task, completed=percent, words=describe(status))

    def close(self) -> None:
        """See Display."""
        self._progress.stop()


def display(name: str) -> Display:
    """Bars when standard error is a terminal, plain lines otherwise."""
    if not sys.stderr.isatty():
        return PlainDisplay(name, sys.stderr, SystemClock())
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[words]}", markup=False),
    )
    return BarDisplay(name, Progress(*columns, console=Console(stderr=True)))


def describe(status: TaskStatus) -> str:
    """`PROGRESS 40 %: hashing`."""
    percent = "" if status.progress is None or status.is_final else f" {status.progress:.0f} %"
    why = status.error.message if status.error else status.message
    return f"{status.state}{percent}" + (f": {why}" if why else "")


def readable_bytes(size_bytes: float) -> str:
    """`1.5 GiB`; bytes and KiB without fractions."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size_bytes < 1024:
            return f"{size_bytes:.0f} {unit}" if unit in ("B", "KiB") else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1024
    return f"{size_bytes:.1f} TiB"
