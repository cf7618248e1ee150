"""The stream that all lines of a process's log go to, whoever writes them.

What thousands of tasks have to say while an event loop turns is gathered and written when the turn ends: every `write`
lets go of the interpreter, and where another thread is busy it is a long way back.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TextIO

MOST_BYTES = 4096
"""Of lines written together: what a pipe takes whole (PIPE_BUF), for other processes may write to it too."""


class Lines:
    """Finished lines, in the order in which they came. Usable from any thread.

    There is no lock that a forked child could inherit locked: what is gathered is taken out piece by piece.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._gathered: deque[str] = deque()

    def write(self, line: str) -> None:
        """Writes a line at once, after those that were gathered. One call of the stream's keeps it whole."""
        self.flush()
        self._put(line)

    def write_soon(self, line: str) -> None:
        """Writes a line when this thread's event loop ends its turn; at once where none runs."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.write(line)
            return
        if not self._gathered:
            loop.call_soon(self.flush)
        self._gathered.append(line)

    def flush(self) -> None:
        """Writes what is gathered."""
        together, size_bytes = "", 0
        while self._gathered:
            try:
                line = self._gathered.popleft()
            except IndexError:  # another thread was faster
                break
            line_bytes = len(line) if line.isascii() else len(line.encode(errors="replace"))
            if size_bytes + line_bytes > MOST_BYTES:
                self._put(together)
                together, size_bytes = "", 0
            together += line
            size_bytes += line_bytes
        if together:
            self._put(together)

    def _put(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            pass  # the reader has left or the stream is closed: the work goes on unheard
