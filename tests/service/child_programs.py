"""What the tests of the supervisor share: small child programs, a captured log, and waiting with a deadline."""

from __future__ import annotations

import asyncio
import os
import select
import sys
import threading

from service.children import Child

DEADLINE_SECONDS = 20.0


class CapturedLog:
    """A binary stream that keeps what is written to it, and on which a test can wait for a text."""

    def __init__(self) -> None:
        self._text = ""
        self._changed = threading.Condition()

    def write(self, data: bytes) -> int:
        with self._changed:
            self._text += data.decode()
            self._changed.notify_all()
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    @property
    def text(self) -> str:
        with self._changed:
            return self._text

    def wait_for(self, wanted: str, times: int = 1) -> str:
        """Blocks until `wanted` was written so often."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._text.count(wanted) >= times, DEADLINE_SECONDS), self._text
            return self._text

    async def saw(self, wanted: str, times: int = 1) -> str:
        return await asyncio.to_thread(self.wait_for, wanted, times)


def python_child(name: str, code: str, **options: object) -> Child:
    """A child that runs a few lines of Python, in the order and with the deadline that suit most tests."""
    settings = {"stop_order": 0, "stop_seconds": 5.0, **options}
    argv = [sys.executable, "-u", "-S", "-E", "-c", code]
    return Child(name=name, argv=argv, env=dict(os.environ), **settings)  # type: ignore[arg-type]


def wait_until_gone(pid: int) -> None:
    """Blocks until a process that need not be our child has ended."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        ended, _, _ = select.select([descriptor], [], [], DEADLINE_SECONDS)
        assert ended, f"process {pid} still runs"
    finally:
        os.close(descriptor)
