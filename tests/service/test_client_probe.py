"""A refusal that comes while a large file is still being sent reaches the user, whatever becomes of the connection."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner, Result

from service import client_probe
from service.cli import main
from service.client_probe import refusal
from tasks.settings import TaskSettings
from tests.service.fake_moorage import FakeMoorage
from tests.service.served import Served, served

BIG_BYTES = 5_000_000
LIMIT_BYTES = 3_000_000


def put(url: str, key: str, *words: str, stdin: bytes = b"") -> Result:
    return CliRunner().invoke(main, ["put", "--url", url, "--key", key, "--json", *words], input=stdin)


def problem(result: Result) -> str:
    [report] = [line for line in result.stdout.splitlines() if line.startswith("{")]  # the server's log is there too
    kind = json.loads(report)["error"]["type"]
    assert isinstance(kind, str)
    return kind.rpartition(":")[2]


@pytest.fixture
def big(tmp_path: Path) -> Path:
    file = tmp_path / "big"
    file.write_bytes(os.urandom(BIG_BYTES))
    return file


@pytest.fixture
def limited(task_settings: TaskSettings) -> Iterator[Served]:
    with served(task_settings, max_upload_bytes=LIMIT_BYTES) as running:
        yield running


def test_a_large_file_with_a_wrong_key_is_not_allowed(edge: Served, big: Path) -> None:
    result = put(edge.url, "ipfs_gw_wrong", str(big))
    assert (result.exit_code, problem(result)) == (5, "unauthenticated"), result.output
    assert "try again" not in result.stderr
    assert "(request " in result.stderr


def test_a_large_pipe_with_a_wrong_key_is_not_allowed(edge: Served) -> None:
    assert put(edge.url, "ipfs_gw_wrong", "-", stdin=bytes(BIG_BYTES)).exit_code == 5


def test_a_file_above_the_limit_is_too_large_and_so_is_a_pipe(limited: Served, big: Path) -> None:
    key = limited.key("ann")
    for result in (put(limited.url, key, str(big)), put(limited.url, key, "-", stdin=big.read_bytes())):
        assert (result.exit_code, problem(result)) == (1, "upload-too-large"), result.output
    assert limited.task_ids() == set()


@contextmanager
def hangs_up(then_says: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """A server that resets its first connection in the middle of the body and answers the head of the second."""
    heads: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)

        def serve() -> None:
            first, _ = listener.accept()
            heads.append(first.recv(65536))
            first.close()  # with unread bytes, which resets it
            second, _ = listener.accept()
            with second:
                heads.append(second.recv(65536))
                second.sendall(then_says)
                while second.recv(65536):  # until the client leaves
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", heads
        thread.join(30)
        assert not thread.is_alive(), "the second connection was not closed"


@pytest.mark.parametrize(
    "then_says", [b"HTTP/1.1 100 Continue\r\n\r\n", b"", b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"]
)
def test_a_broken_connection_to_a_server_that_has_nothing_against_it_stays_one(
    monkeypatch: pytest.MonkeyPatch, big: Path, then_says: bytes
) -> None:
    monkeypatch.setattr(client_probe, "PATIENCE_SECONDS", 0.2)
    with hangs_up(then_says) as (url, heads):
        result = put(url, "ipfs_gw_secret", str(big))
    assert (result.exit_code, problem(result)) == (3, "connection-lost")
    asked, body = heads[1].lower().split(b"\r\n\r\n")
    assert body == b""
    assert asked.startswith(b"put /api/v1/uploads/big http/1.1\r\n")
    for header in (b"content-length: 5000000", b"x-api-key: ipfs_gw_secret", b"expect: 100-continue"):
        assert header in asked.split(b"\r\n")


def test_an_empty_upload_is_never_asked_about_since_that_would_be_sending_it(moorage: FakeMoorage) -> None:
    assert refusal(httpx.Request("PUT", f"{moorage.url}/api/v1/uploads/empty"), 0) is None
    assert not moorage.seen
