"""`kill -9` of each part at its worst moment: whatever had got its 202 ends SUCCESS, and no temp file is left over."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest

from tests.end_to_end.moored import Moored
from tests.end_to_end.uploading import CURL, MIB, curl_digest, curl_upload, make_file, sha256, succeeded

SWEEP_SECONDS = 60.0
"""Far more than the sweeper's period."""


def row_state(moored: Moored, task_id: str) -> str:
    """The task's state as the catalog has it at this very moment."""
    with closing(sqlite3.connect(moored.data / "catalog.sqlite")) as catalog:
        [state] = catalog.execute("SELECT state FROM tasks WHERE id = ?", (task_id,)).fetchone()
    return str(state)


@contextmanager
def standing_still(pid: int) -> Iterator[None]:
    """A process that does nothing inside the block."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextmanager
def slow_upload(moored: Moored, file: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """An upload whose first bytes have come and whose last will take a while, and its file's name."""
    url = f"{moored.url}/api/v1/uploads/"
    command = [*CURL, "--limit-rate", "4M", "-T", str(file), "-H", f"X-API-Key: {moored.key}", url]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as upload:
        [part] = moored.until(lambda: [name for name in moored.staged() if name.endswith(".part")])
        moored.until(lambda: (moored.data / "staging" / part).stat().st_size > 0)
        yield upload, part


def test_the_worker_dies_in_the_middle_of_an_ingest(moored: Moored, client: httpx.Client, tmp_path: Path) -> None:
    file = make_file(tmp_path / "big.iso", 768 * MIB)
    worker = moored.pid_of("worker-upload")
    with standing_still(worker):
        task_id = curl_upload(moored, file)["task_id"]
    moored.until(lambda: row_state(moored, task_id) == "STARTED")
    os.kill(worker, signal.SIGKILL)
    assert row_state(moored, task_id) == "STARTED", "it was caught in the middle"
    result = succeeded(moored, client, task_id)
    assert client.get(f"/tasks/{task_id}").json()["attempt"] == 0, "a death is no failed attempt"
    assert curl_digest(moored, result["cid"]) == sha256(file)
    moored.until(lambda: moored.staged() == [], SWEEP_SECONDS)


def test_the_api_dies_in_the_middle_of_an_upload(moored: Moored, client: httpx.Client, tmp_path: Path) -> None:
    accepted = [client.put("/api/v1/uploads/a", content=os.urandom(1000)).json()["task_id"] for _ in range(5)]
    file = make_file(tmp_path / "big.iso", 64 * MIB)
    with slow_upload(moored, file) as (upload, part):
        moored.kill("api")
        assert upload.wait() != 0, "the client is told"
    for task_id in accepted:
        succeeded(moored, client, task_id)
    moored.until(lambda: moored.staged() == [], SWEEP_SECONDS)
    assert client.get(f"/tasks/{part.removesuffix('.part')}").status_code == 404, "nothing was accepted of it"
    assert succeeded(moored, client, curl_upload(moored, file)["task_id"])["size_bytes"] == 64 * MIB


def test_the_broker_dies_with_its_data_while_twenty_uploads_wait(
    moored: Moored, client: httpx.Client, tmp_path: Path
) -> None:
    contents = [os.urandom(10_000 + number) for number in range(20)]
    with standing_still(moored.pid_of("worker-upload")):
        task_ids = [client.put("/api/v1/uploads/a", content=content).json()["task_id"] for content in contents]
        shutil.rmtree(moored.data / "broker")
        moored.kill("broker")
    results = [succeeded(moored, client, task_id) for task_id in task_ids]
    assert [result["size_bytes"] for result in results] == [len(content) for content in contents]
    for result, content in zip(results, contents, strict=True):
        assert client.get(f"/ipfs/{result['cid']}").content == content
    moored.until(lambda: moored.staged() == [], SWEEP_SECONDS)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_part_dies_again_and_again_while_files_come_in(moored: Moored, tmp_path: Path) -> None:
    parts = ("worker-upload", "api", "broker", "worker", "beat")
    accepted: list[tuple[str, bytes]] = []
    with moored.client() as client:
        for round_number in range(10):
            moored.kill(parts[round_number % len(parts)])
            while len(accepted) < 5 * (round_number + 1):
                content = os.urandom(100_000)
                try:
                    answer = client.put("/api/v1/uploads/a", content=content)
                except httpx.TransportError:
                    continue  # no 202, no promise
                if answer.status_code == 202:
                    accepted.append((answer.json()["task_id"], content))
        for task_id, content in accepted:
            assert client.get(f"/ipfs/{succeeded(moored, client, task_id)['cid']}").content == content
    moored.until(lambda: moored.staged() == [], SWEEP_SECONDS)


def test_told_to_stop_in_the_middle_of_everything_it_loses_nothing(start: Callable[[], Moored], tmp_path: Path) -> None:
    first = start()
    with first.client() as client:
        old = client.put("/api/v1/uploads/old", content=b"from before").json()["task_id"]
        cid = succeeded(first, client, old)["cid"]
        long = client.post("/tasks/test/long").json()["task_id"]
        first.until(lambda: client.get(f"/tasks/{long}/status").json()["data"]["state"] == "PROGRESS")
        big = curl_upload(first, make_file(tmp_path / "big.iso", 256 * MIB))["task_id"]
        small = [client.put("/api/v1/uploads/a", content=os.urandom(1000)).json()["task_id"] for _ in range(20)]
    with slow_upload(first, make_file(tmp_path / "slow.iso", 256 * MIB)) as (upload, _):
        assert first.stop() == 0
        assert upload.wait() != 0, "its client is told"

    second = start()
    with second.client() as client:
        assert second.key == first.key
        for task_id in (big, *small, long):
            succeeded(second, client, task_id)
        assert client.get(f"/tasks/{old}").json()["state"] == "SUCCESS"
        assert client.get(f"/ipfs/{cid}").content == b"from before"
    second.until(lambda: second.staged() == [], SWEEP_SECONDS)
    assert second.stop() == 0
