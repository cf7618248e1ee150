"""One child process, seen from the worker: started afresh, called, told to end, killed; its death is noticed at once.

A fresh interpreter and never a fork: the worker has threads. Each child has a socket of its own, so that nothing a
dying child holds is waited for by another.
"""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import signal
import socket
import subprocess
import sys
import threading
from typing import Any

from billiard.common import human_status

from tasks.pool import frames
from tasks.pool.frames import Call

START_SECONDS = 60.0
"""How long a child may take to import the application."""

LAST_WORDS_SECONDS = 1.0
"""How long what a dead child has said may take to arrive, and a child that hung up may take to end."""

_BOOT = """
import sys
descriptor, application, hostname, *sys.path[:] = sys.argv[1:]
from tasks.pool.child_main import main
main(int(descriptor), application, hostname)
"""


class ChildDied(Exception):
    """A child process ended by itself: `exit_code` is minus the signal's number when a signal ended it."""

    def __init__(self, pid: int, exit_code: int) -> None:
        super().__init__(pid, exit_code)
        self.pid, self.exit_code = pid, exit_code

    def __str__(self) -> str:
        return f"process {self.pid} died: {human_status(self.exit_code)}"


class Child:
    """A running child. It belongs to the event loop in which it was started."""

    def __init__(
        self, process: subprocess.Popen[bytes], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._process, self._reader, self._writer = process, reader, writer
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[int] = self._loop.create_future()
        self._killed = False
        self.calls = 0
        """How many it has been handed."""
        threading.Thread(target=self._await_end, name=f"pool-child-{self.pid}", daemon=True).start()

    @classmethod
    async def start(cls, application: str, hostname: str) -> Child:
        """A child that waits for calls. Raises ChildDied or OSError when it does not get that far.

        Must run on a thread that lives as long as the worker: the kernel takes its end for the worker's.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            reader, writer = await asyncio.open_unix_connection(sock=ours)
            child = None
            try:
                child = cls(_spawned(theirs.fileno(), application, hostname), reader, writer)
                theirs.close()  # or its end would not be heard
                await child._until_ready()
            except BaseException:
                if child:
                    child.kill()
                writer.close()
                raise
        return child

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def is_usable(self) -> bool:
        """Whether it can be called: it was not killed and has not ended, as far as is known."""
        return not self._killed and not self._ended.done()

    async def call(self, call: Call) -> Any:
        """Runs the call there: returns what it returns, raises what it raises, or ChildDied.

        A caller that is cancelled meanwhile kills the child: there is no other way to stop a body.
        """
        word = pickle.dumps(call)
        self.calls += 1
        try:
            self._say(word)
            outcome = await self._answer()
        except BaseException:
            self.kill()
            raise
        returned, value = pickle.loads(outcome)  # noqa: S301 - our own child's, by a socket that nobody else has
        if not returned:
            raise value
        return value

    def signal(self, number: int) -> None:
        """Sends it a signal, if it still runs."""
        self._process.send_signal(number)

    def stop_soon(self) -> None:
        """Tells it that the worker takes no new work."""
        self._say(frames.STOPPING)

    def kill(self) -> None:
        """Ends it at once."""
        self._killed = True
        self.signal(signal.SIGKILL)

    async def close(self, grace_seconds: float) -> None:
        """Lets it say goodbye; kills it when that takes longer than the grace. It has ended when this returns."""
        self._say(frames.STOP)
        try:
            await asyncio.wait({self._ended}, timeout=grace_seconds)
        finally:
            self.kill()
            self._writer.close()
        await asyncio.wait({self._ended})

    def _say(self, word: bytes) -> None:
        self._writer.write(frames.framed(word))  # to a dead child it goes nowhere: its death is heard instead

    async def _until_ready(self) -> None:
        try:
            async with asyncio.timeout(START_SECONDS):
                await self._answer()
        except TimeoutError:
            self.kill()
            raise ChildDied(self.pid, await self._ended) from None

    async def _answer(self) -> bytes:
        """Its next word. Raises ChildDied."""
        reading: asyncio.Future[bytes] = asyncio.create_task(frames.read(self._reader))
        try:
            either: set[asyncio.Future[Any]] = {reading, self._ended}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait({reading}, timeout=LAST_WORDS_SECONDS)
            if reading.done():
                return reading.result()
        except (asyncio.IncompleteReadError, OSError):
            await asyncio.wait({self._ended}, timeout=LAST_WORDS_SECONDS)
            self.kill()  # it has closed its end of the channel and lives on: nothing will ever be heard of it
        finally:
            reading.cancel()
        raise ChildDied(self.pid, await asyncio.shield(self._ended))

    def _await_end(self) -> None:
        exit_code = self._process.wait()
        with contextlib.suppress(RuntimeError):  # the loop was closed before
            self._loop.call_soon_threadsafe(self._ended.set_result, exit_code)


def _spawned(descriptor: int, application: str, hostname: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", "-c", _BOOT, str(descriptor), application, hostname, *sys.path]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[descriptor])
