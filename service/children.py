"""One child program of the supervisor: how it is described, started, read from and ended.

A child lives in a session of its own, so that Ctrl-C reaches only the supervisor, which then stops everybody in order.
On Linux the kernel kills it when the supervisor dies, however that dies. Whatever a child leaves running in its session
is killed with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence

import msgspec

from service.log_lines import LineSplitter

READ_BYTES = 64 * 1024
REMEMBERED_LINES = 20
"""How many of its last lines are kept to explain why a child did not come up."""
LAST_WORDS_SECONDS = 1.0
"""How long a dead child's output is still read: a program that left its session may hold the pipe for ever."""

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None

LineReader = Callable[[str, list[bytes]], None]
"""Gets a child's name and some of its lines."""


class Child(msgspec.Struct, frozen=True, kw_only=True):
    """What the supervisor needs to know of a program it keeps alive."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    stop_order: int
    """Children stop in this order, those with the same number together."""
    stop_seconds: float
    """How long it may take to stop before it is killed."""
    stop_signal: signal.Signals = signal.SIGTERM
    before_start: Callable[[int], Awaitable[str]] | None = None
    """Runs before every start; gets the number of deaths in a row. What it returns, if anything, is said in the log."""
    is_ready: Callable[[], Awaitable[bool]] | None = None
    """Asked again and again after a start until it says yes; None: ready as soon as it runs."""
    ready_seconds: float = 60.0
    """How long it may take to get ready at first."""
    recycle_code: int | None = None
    """The exit code with which it says that it has lived long enough and wants to be started again."""


class RunningChild:
    """A started child. `wait` must be awaited: it reads the child's output and cleans up after it."""

    def __init__(self, child: Child, process: asyncio.subprocess.Process, output: asyncio.StreamReader) -> None:
        self._child, self._process, self._output = child, process, output

    @property
    def pid(self) -> int:
        """The process id, which is also its session's and its group's."""
        return self._process.pid

    def ask_to_stop(self) -> None:
        """Sends the child, and only it, its stop signal: it knows best how to stop what it started."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(self._child.stop_signal)

    def kill(self) -> None:
        """Ends the child and everything in its session at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    async def wait(self, on_lines: LineReader, last_lines: deque[bytes]) -> int:
        """Passes its lines on until it ends; returns the exit code, or minus the signal that ended it."""
        reading = asyncio.create_task(self._read(on_lines, last_lines))
        try:
            code = await self._process.wait()
        finally:
            self.kill()  # what it started and left behind; that also closes the pipe, so the reading ends
            await asyncio.wait({reading}, timeout=LAST_WORDS_SECONDS)
            reading.cancel()
        return code

    async def _read(self, on_lines: LineReader, last_lines: deque[bytes]) -> None:
        splitter = LineSplitter()
        while chunk := await self._output.read(READ_BYTES):
            self._pass_on(splitter.feed(chunk), on_lines, last_lines)
        self._pass_on(splitter.finish(), on_lines, last_lines)

    def _pass_on(self, lines: list[bytes], on_lines: LineReader, last_lines: deque[bytes]) -> None:
        last_lines.extend(lines)
        on_lines(self._child.name, lines)


async def start(child: Child) -> RunningChild:
    """Starts the program. Raises OSError when it cannot be started."""
    read_end, write_end = os.pipe()
    output = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    # A pipe of our own instead of stdout=PIPE: asyncio then reports the end of the process when the process ends, not
    # when the last grandchild that inherited the pipe does.
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(output), os.fdopen(read_end, "rb", 0))
    try:
        process = await asyncio.create_subprocess_exec(
            *child.argv,
            env=dict(child.env),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=write_end,
            stderr=write_end,
            start_new_session=True,
            preexec_fn=_die_with(os.getpid()) if _LIBC else None,
        )
    finally:
        os.close(write_end)
    return RunningChild(child, process, output)


def describe_exit(code: int) -> str:
    """`exit code 3` or `killed by SIGKILL`."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


def _die_with(supervisor_pid: int) -> Callable[[], None]:
    """Runs in the forked child before the program: asks the kernel to kill it when the supervisor dies."""
    prctl = _LIBC.prctl if _LIBC else None

    def ask_kernel() -> None:
        assert prctl is not None
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != supervisor_pid:  # it died between the fork and the call above
            os._exit(1)

    return ask_kernel
