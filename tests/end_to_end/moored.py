"""`moorage up` as a user starts it, with its log, its parts' processes, and hands to hurt them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import httpx

COMMANDS = {
    "broker": "valkey-server",
    "api": "service.cli api",
    "worker-upload": "service.cli worker --queues upload",
    "worker": "service.cli worker --queues pinning,upkeep",
    "worker-schedule": "service.cli worker --queues schedule",
    "beat": "service.cli beat",
}
"""What is seen of each part among the machine's processes."""

T = TypeVar("T")
Line = dict[str, Any]

START_SECONDS = 90.0
STOP_SECONDS = 30.0
DEADLINE_SECONDS = 60.0
LOOK_SECONDS = 0.01
"""How often is looked at what sends no event: another process's files, processes and answers."""


class Moored:
    """A running `moorage up` on the folder `data`."""

    def __init__(self, data: Path, environ: Mapping[str, str]) -> None:
        self.data, self.environ = data, dict(environ)
        self.log: list[Line] = []
        self.words = ""
        self._changed = threading.Condition()
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-P",
                "-m",
                "service.cli",
                "up",
                "--data",
                str(data),
                "--port",
                "0",
                "--log-format",
                "json",
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.environ,
        )
        self._readers = [threading.Thread(target=reader, daemon=True) for reader in (self._read_log, self._read_words)]
        for reader in self._readers:
            reader.start()
        self.url = str(self.logged(lambda line: line["event"] == "ready", START_SECONDS)["address"])
        self.key = (data / "api-key").read_text().strip()

    def client(self, key: str = "") -> httpx.Client:
        """A client of the owner's, or of whoever has `key`."""
        return httpx.Client(base_url=self.url, headers={"X-API-Key": key or self.key}, timeout=DEADLINE_SECONDS)

    def logged(self, wanted: Callable[[Line], bool], within_seconds: float = DEADLINE_SECONDS) -> Line:
        """The first line of the log that is `wanted`, waited for."""
        with self._changed:
            self._changed.wait_for(
                lambda: any(map(wanted, self.log)) or self._process.poll() is not None, within_seconds
            )
            found = next(filter(wanted, self.log), None)
        assert found is not None, f"it was never logged; last said: {self.words[-2000:]} {self.log[-20:]}"
        return found

    def pid_of(self, role: str) -> int:
        """The process that plays this part, waited for."""
        return self.until(lambda: next(iter(self._children(role)), 0))

    def kill(self, role: str) -> None:
        """`kill -9` of one part, and waits until another process plays it."""
        killed = self.pid_of(role)
        os.kill(killed, signal.SIGKILL)
        self.until(lambda: any(pid != killed for pid in self._children(role)))

    def stop(self) -> int:
        """An orderly stop; returns the exit code."""
        self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(STOP_SECONDS)
        for reader in self._readers:
            reader.join(DEADLINE_SECONDS)
        return code

    def end(self) -> None:
        """Makes sure that nothing of it runs any more."""
        if self._process.poll() is None:
            for role in ("worker-upload", "worker"):
                for pid in self._children(role):
                    os.kill(pid, signal.SIGCONT)  # a test that failed may have left it stopped
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                self._process.kill()

    def until(self, look: Callable[[], T], within_seconds: float = DEADLINE_SECONDS) -> T:
        """Looks until there is something to see."""
        give_up_at = time.monotonic() + within_seconds
        while not (found := look()):
            assert time.monotonic() < give_up_at, f"not within {within_seconds:g} s; last seen: {found!r}"
            with self._changed:
                self._changed.wait(LOOK_SECONDS)
        return found

    def staged(self) -> list[str]:
        """What lies in the staging folder."""
        return sorted(path.name for path in (self.data / "staging").iterdir())

    def _children(self, role: str) -> Iterable[int]:
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                words = (folder / "cmdline").read_text().replace("\0", " ")
            except (OSError, UnicodeDecodeError):
                continue  # it has ended, or is nobody of ours
            if parent == self._process.pid and COMMANDS[role] in words:
                yield int(folder.name)

    def _read_log(self) -> None:
        assert self._process.stdout is not None
        for text in self._process.stdout:
            with self._changed:
                self.log.append(json.loads(text))
                self._changed.notify_all()

    def _read_words(self) -> None:
        assert self._process.stderr is not None
        for text in self._process.stderr:
            with self._changed:
                self.words += text.decode()
                self._changed.notify_all()
