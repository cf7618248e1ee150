"""A real `moorage up` in a folder of its own for a benchmark's time, and the few calls a benchmark makes on it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx

START_SECONDS = 60.0
TASK_SECONDS = 300.0
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
MIB = 1 << 20


class Installation(NamedTuple):
    """Where it answers, with which key, and which process plays which part."""

    address: str
    key: str
    data: Path
    supervisor: int

    def header(self) -> dict[str, str]:
        """What lets a request in."""
        return {"X-API-Key": self.key}

    def pid(self, *words: str) -> int:
        """The part whose command line holds all `words`."""
        for child in children_of(self.supervisor):
            command = Path(f"/proc/{child}/cmdline").read_bytes().decode().split("\0")
            if all(word in command for word in words):
                return child
        raise LookupError(words)

    def curl_upload(self, file: Path) -> subprocess.Popen[bytes]:
        """`curl -T file`, started."""
        header, target = f"X-API-Key: {self.key}", f"{self.address}/api/v1/uploads/"
        return subprocess.Popen(["curl", "-sS", "-T", str(file), "-H", header, target], stdout=subprocess.PIPE)

    def wait(self, task_id: str) -> dict[str, Any]:
        """The whole record of a task once it is done. Raises TimeoutError, or RuntimeError when it failed."""
        deadline = time.monotonic() + TASK_SECONDS
        with httpx.Client(base_url=self.address, headers=self.header()) as client:
            while time.monotonic() < deadline:
                record: dict[str, Any] = client.get(f"/api/v1/tasks/{task_id}").json()
                if record["state"] == "SUCCESS":
                    return record
                if record["state"] == "FAILURE":
                    raise RuntimeError(record["error"])
                time.sleep(0.05)
        raise TimeoutError(task_id)


@contextlib.contextmanager
def installation(folder: Path | None = None, **variables: str) -> Iterator[Installation]:
    """Moorage on a free port, with `variables` set, gone with its data afterwards."""
    with tempfile.TemporaryDirectory(dir=folder) as data:
        port = free_port()
        command = [sys.executable, "-m", "service.cli", "up", "--data", data, "--port", str(port)]
        environ = os.environ | {"MOORAGE_LOG_LEVEL": "warning"} | variables
        with (
            tempfile.TemporaryFile() as log,
            subprocess.Popen(command, env=environ, stdout=log, stderr=subprocess.STDOUT) as process,
        ):
            try:
                wait_until_healthy(f"http://127.0.0.1:{port}", process)
                key = (Path(data) / "api-key").read_text().strip()
                yield Installation(f"http://127.0.0.1:{port}", key, Path(data), process.pid)
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(timeout=40)


def wait_until_healthy(address: str, process: subprocess.Popen[bytes]) -> None:
    """Returns once every part is there."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{address}/health").status_code == 200:
                return
        time.sleep(0.1)
    raise TimeoutError("moorage did not come up")


def finish_upload(started: subprocess.Popen[bytes]) -> str:
    """The task id that curl was answered with. Raises RuntimeError for any other answer."""
    output = started.communicate()[0]
    answer = json.loads(output)
    if "task_id" not in answer:
        raise RuntimeError(answer)
    return str(answer["task_id"])


def children_of(pid: int) -> list[int]:
    """The process's children."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def resident_bytes(pid: int) -> int:
    """What a process holds in memory now."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES


def reset_peak(pid: int) -> None:
    """Makes `peak_bytes` count from now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak_bytes(pid: int) -> int:
    """The most a process has held since `reset_peak`."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) * 1024


def free_port() -> int:
    """A TCP port nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def write_random(path: Path, size_mib: int) -> None:
    """A file like no other, in the page cache and on disk."""
    with path.open("wb") as file:
        for _ in range(size_mib):
            file.write(os.urandom(MIB))
        os.fsync(file.fileno())


class Row(NamedTuple):
    """A line of a result table: what was measured, the figure, the limit it must keep, and whether it did."""

    name: str
    figure: str
    limit: str = ""
    kept: bool | None = None


def print_table(title: str, rows: list[Row]) -> None:
    """The table, on standard output."""
    print(f"\n{title}")
    for row in rows:
        verdict = "" if row.kept is None else ("kept" if row.kept else "MISSED")
        print(f"  {row.name:58}{row.figure:>20}   {row.limit:22}{verdict}")
