"""The main job as its users do it: a file goes in by `curl -T`, a CID comes out, and the file comes back."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner, Result

from service.cli import main
from tests.end_to_end.moored import Moored
from tests.end_to_end.uploading import MIB, curl_digest, curl_upload, make_file, sha256, succeeded, watch

KUBO = os.environ.get("TEST_KUBO") or shutil.which("ipfs")


SIZE_BYTES = 512 * MIB
"""Enough to be seen while it is hashed."""


def test_a_file_becomes_a_cid_while_polling_shows_rising_numbers(
    moored: Moored, client: httpx.Client, tmp_path: Path
) -> None:
    file = make_file(tmp_path / "big.iso", SIZE_BYTES)
    accepted = curl_upload(moored, file)
    assert (accepted["filename"], accepted["size_bytes"]) == ("big.iso", SIZE_BYTES)
    seen = watch(moored, client, accepted["task_id"])
    assert {found["state"] for found in seen} <= {"PENDING", "STARTED", "PROGRESS", "SUCCESS"}
    numbers = [found["progress"] for found in seen]
    assert numbers == sorted(numbers)
    assert numbers[-1] == 100.0
    assert any(0 < number < 100 for number in numbers), numbers
    result = seen[-1]["result"]
    assert set(result) == {"cid", "filename", "size_bytes", "content_type", "profile"}
    assert (result["filename"], result["size_bytes"]) == ("big.iso", SIZE_BYTES)
    assert result["profile"] == "unixfs-v1-2025"
    assert curl_digest(moored, result["cid"]) == sha256(file)


def test_the_uploads_request_id_is_found_in_a_line_of_the_worker(moored: Moored, client: httpx.Client) -> None:
    answer = client.put("/api/v1/uploads/a", content=os.urandom(100))
    succeeded(moored, client, answer.json()["task_id"])
    request_id = answer.headers["x-request-id"]
    moored.logged(lambda line: line["role"] == "api" and line.get("request_id") == request_id)
    line = moored.logged(lambda line: line["role"] == "worker-upload" and line.get("request_id") == request_id)
    assert line["task_id"] == answer.json()["task_id"]


@pytest.mark.skipif(KUBO is None, reason="Kubo's `ipfs` is not on the PATH, and TEST_KUBO names none")
@pytest.mark.parametrize("profile", ["unixfs-v1-2025", "unixfs-v0-2015"])
def test_the_cid_is_the_one_that_kubo_gives(moored: Moored, client: httpx.Client, tmp_path: Path, profile: str) -> None:
    assert KUBO is not None
    file = tmp_path / "random.bin"
    file.write_bytes(os.urandom(5 * MIB + 1))
    options = {
        "unixfs-v1-2025": ["--cid-version=1", "--raw-leaves", "--chunker=size-1048576", "--max-file-links=1024"],
        "unixfs-v0-2015": ["--cid-version=0", "--chunker=size-262144", "--max-file-links=174"],
    }
    kubo = {**os.environ, "IPFS_PATH": str(tmp_path / "kubo")}
    subprocess.run([KUBO, "init"], env=kubo, capture_output=True, check=True)
    command = [KUBO, "add", "--only-hash", "--quieter", *options[profile], str(file)]
    theirs = subprocess.run(command, env=kubo, capture_output=True, text=True, check=True).stdout.strip()
    answer = client.put(f"/api/v1/uploads/a?profile={profile}", content=file.read_bytes())
    assert succeeded(moored, client, answer.json()["task_id"])["cid"] == theirs


def test_diagnostics_run_on_the_real_worker(moored: Moored, client: httpx.Client) -> None:
    def result(path: str) -> object:
        return succeeded(moored, client, client.post(f"/tasks/test{path}").json()["task_id"])

    assert result("/add?x=7&y=8") == 15
    assert result("?message=hi") == "hi"
    assert result("/sleep?seconds=0.1") == 0.1
    assert result("/fail?times=1") == 1


def test_the_metrics_page_shows_what_the_workers_did(moored: Moored, client: httpx.Client) -> None:
    succeeded(moored, client, client.put("/api/v1/uploads/a", content=os.urandom(10)).json()["task_id"])

    def counted() -> bool:
        lines = httpx.get(f"{moored.url}/metrics").text.splitlines()
        samples = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        done = [
            float(value)
            for name, value in samples.items()
            if name.startswith("celery_task_succeeded_total") and 'name="ingest"' in name
        ]
        up = [value for name, value in samples.items() if name.startswith("celery_worker_up")]
        return sum(done) >= 1 and up == ["1.0", "1.0", "1.0"]

    moored.until(counted)
    assert httpx.get(f"{moored.url}/health").json()["status"] == "healthy"


@pytest.fixture
def moorage(moored: Moored) -> Callable[..., Result]:
    """Runs a command of `moorage` against the shared server."""

    def run(*words: str, key: str = "") -> Result:
        environ = {"MOORAGE_DATA": str(moored.data), "MOORAGE_URL": moored.url, "MOORAGE_API_KEY": key}
        return CliRunner().invoke(main, list(words), env=environ)

    return run


def test_two_owners_work_side_by_side_from_the_command_line(moorage: Callable[..., Result], tmp_path: Path) -> None:
    keys = {}
    for owner in ("ann", "bob"):
        made = moorage("keys", "create", "--owner", owner)
        assert made.exit_code == 0, made.output
        keys[owner] = made.stdout.strip()
    file = make_file(tmp_path / "notes.txt", 3 * MIB)

    sent = moorage("put", str(file), "--follow", key=keys["ann"])
    assert sent.exit_code == 0, sent.output
    cid, name = sent.stdout.split()
    assert name == "notes.txt"

    task_id = moorage("put", str(file), key=keys["bob"]).stdout.split()[0]
    assert moorage("status", task_id, "--follow", key=keys["bob"]).exit_code == 0
    assert cid in moorage("status", task_id, key=keys["bob"]).stdout
    assert moorage("status", task_id, key=keys["ann"]).exit_code != 0, "it is bob's"

    fetched = tmp_path / "fetched"
    assert moorage("get", cid, "-o", str(fetched), key=keys["bob"]).exit_code == 0
    assert sha256(fetched) == sha256(file)


def test_no_crowd_of_slow_tasks_keeps_lost_work_from_mending(moored: Moored, client: httpx.Client) -> None:
    def reconciled() -> float:
        lines = client.get("/metrics").text.splitlines()
        counts = [
            line for line in lines if line.startswith("celery_task_succeeded_total") and 'name="reconcile"' in line
        ]
        return sum(float(line.split()[-1]) for line in counts)

    for _ in range(80):
        assert client.post("/tasks/test/sleep?seconds=8").status_code == 202
    moored.until(lambda: sum(map(len, client.get("/tasks?limit=1").json()["active_tasks"].values())) >= 64)
    before = reconciled()
    moored.until(lambda: reconciled() >= before + 2, within_seconds=7)
