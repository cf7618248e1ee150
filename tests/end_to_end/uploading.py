"""What a user does again and again: sends files, watches tasks, compares what comes back."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import httpx

from tests.end_to_end.moored import Moored

CURL = ("curl", "--silent", "--show-error", "--fail-with-body")
FINISHED = ("SUCCESS", "FAILURE", "REVOKED")
MIB = 1 << 20


def make_file(path: Path, size_bytes: int) -> Path:
    """A file like no other, which takes almost no room: a random beginning and then a hole."""
    with path.open("wb") as out:
        out.write(os.urandom(min(size_bytes, MIB)))
        out.truncate(size_bytes)
    return path


def sha256(path: Path) -> str:
    """The digest of a file, in hexadecimal."""
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def curl_upload(moored: Moored, file: Path) -> dict[str, Any]:
    """`curl -T`, as the banner says it; the 202's body."""
    answer = subprocess.run(
        [*CURL, "-T", str(file), "-H", f"X-API-Key: {moored.key}", f"{moored.url}/api/v1/uploads/"],
        capture_output=True,
        check=True,
    )
    body: dict[str, Any] = json.loads(answer.stdout)
    return body


def curl_digest(moored: Moored, cid: str) -> str:
    """`curl /ipfs/<cid> | sha256sum`."""
    command = [*CURL, "-H", f"X-API-Key: {moored.key}", f"{moored.url}/ipfs/{cid}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as fetching:
        assert fetching.stdout is not None
        digest = hashlib.sha256()
        while piece := fetching.stdout.read(MIB):
            digest.update(piece)
    assert fetching.returncode == 0
    return digest.hexdigest()


def status(client: httpx.Client, task_id: str) -> dict[str, Any]:
    """What a poller sees; {} while nobody answers, as between an API's death and its next life."""
    try:
        answer = client.get(f"/tasks/{task_id}/status")
    except httpx.TransportError:
        return {}
    if answer.status_code != 200:
        assert answer.status_code == 503, answer.text
        return {}
    data: dict[str, Any] = answer.json()["data"]
    return data


def watch(moored: Moored, client: httpx.Client, task_id: str) -> list[dict[str, Any]]:
    """All that a poller saw until the task had finished."""
    seen: list[dict[str, Any]] = []

    def finished() -> bool:
        found = status(client, task_id)
        if found and (not seen or found != seen[-1]):
            seen.append(found)
        return found.get("state") in FINISHED

    moored.until(finished)
    return seen


def succeeded(moored: Moored, client: httpx.Client, task_id: str) -> dict[str, Any]:
    """The result of a task, once it has succeeded."""
    last = watch(moored, client, task_id)[-1]
    assert last["state"] == "SUCCESS", last
    result: dict[str, Any] = last["result"]
    return result
