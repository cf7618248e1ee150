"""`moorage up` as a user runs it: real processes, a real broker, a real stop."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.service.child_programs import wait_until_gone

pytestmark = pytest.mark.slow

DEADLINE_SECONDS = 60.0
PARTS = ("broker", "api", "worker-upload", "worker", "worker-schedule", "beat")


class Up:
    """A running `moorage up` whose log and words are collected while it runs."""

    def __init__(self, process: subprocess.Popen[bytes], data: Path) -> None:
        self.process, self.data = process, data
        self.log: list[dict[str, Any]] = []
        self.words = ""
        self._has_ended = False
        self._changed = threading.Condition()
        self._readers = [threading.Thread(target=self._read_log), threading.Thread(target=self._read_words)]
        for reader in self._readers:
            reader.start()

    def _read_log(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self.log.append(json.loads(line))
                self._changed.notify_all()

    def _read_words(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._changed:
                self.words += line.decode()
                self._changed.notify_all()
        with self._changed:
            self._has_ended = True
            self._changed.notify_all()

    def saw(self, met: Callable[[], bool]) -> None:
        with self._changed:
            self._changed.wait_for(lambda: met() or self._has_ended, DEADLINE_SECONDS)
            assert met(), (self.words, self.log)

    def said(self, event: str, role: str = "up") -> bool:
        return any(line["role"] == role and line["event"] == event for line in self.log)

    def children(self) -> list[int]:
        return [
            int(pid) for pid in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        ]

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        try:
            code = self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            pytest.fail(f"it does not end: {self.words} {self.log[-40:]}")
        for reader in self._readers:
            reader.join()
        return code


@pytest.fixture
def environ(runtime: Callable[[], dict[str, str]], bytecode: dict[str, str]) -> dict[str, str]:
    return runtime() | bytecode


def start(data: Path, environ: dict[str, str], *words: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "service.cli", "up", "--data", str(data), "--port", "0", *words]
    return subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@contextmanager
def running(data: Path, environ: dict[str, str], *words: str) -> Iterator[Up]:
    with start(data, environ, *words) as process:
        up = Up(process, data)
        try:
            up.saw(lambda: "Ctrl-C stops everything." in up.words)
            yield up
        finally:
            process.kill()


def test_it_serves_until_it_is_told_to_stop_and_stops_in_order(data: Path, environ: dict[str, str]) -> None:
    with running(data, environ) as up:
        assert re.search(r"curl -T big.iso .*http://127.0.0.1:\d+/api/v1/uploads/", up.words)
        assert (data / "api-key").stat().st_mode & 0o777 == 0o600
        children = up.children()
        assert len(children) == len(PARTS)
        assert up.end(signal.SIGTERM) == 0
        assert up.said("stopped")
        assert not any("killed" in line["event"] for line in up.log if line["role"] == "up")
        for child in children:
            wait_until_gone(child)


def test_a_second_one_on_the_same_folder_says_who_holds_it(data: Path, environ: dict[str, str]) -> None:
    with running(data, environ) as up, start(data, environ) as second:
        _, words = second.communicate(timeout=DEADLINE_SECONDS)
        assert second.returncode == 1
        assert f"{data} is already served by process {up.process.pid} at http://127.0.0.1:".encode() in words
        assert up.end(signal.SIGINT) == 0


def test_a_file_put_at_the_start_survives_the_death_of_every_part(
    data: Path, tmp_path: Path, environ: dict[str, str]
) -> None:
    file = tmp_path / "hello.txt"
    file.write_bytes(b"hello moorage\n" * 10_000)
    with running(data, environ, "--put", str(file)) as up:
        up.saw(lambda: "hello.txt is now b" in up.words)
        for child in up.children():
            os.kill(child, signal.SIGKILL)
        for part in PARTS:
            event = f"{part} died (killed by SIGKILL); restarting in 0.2 s"
            up.saw(lambda event=event: up.said(event))  # type: ignore[misc]
        [fetch] = re.findall(r"^  (curl -f -H .* )-o hello.txt.copy$", up.words, re.MULTILINE)
        again = fetch.replace("curl", "curl --silent --retry 20 --retry-connrefused --retry-delay 1")
        fetched = subprocess.run(["sh", "-c", again], capture_output=True, check=True, timeout=DEADLINE_SECONDS)
        assert fetched.stdout == file.read_bytes()
        assert up.end(signal.SIGTERM) == 0


def test_killed_outright_it_takes_its_parts_along_and_starts_again(data: Path, environ: dict[str, str]) -> None:
    with running(data, environ) as up:
        children = up.children()
        assert up.end(signal.SIGKILL) == -signal.SIGKILL
        for child in children:
            wait_until_gone(child)
    with running(data, environ) as up:
        assert up.end(signal.SIGTERM) == 0
