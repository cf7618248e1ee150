"""`moorage put a b c --json` accounts for every file, also for those it did not try to send."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from service.cli import main
from tests.service.fake_moorage import Answer, FakeMoorage, problem, task


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    names = [str(tmp_path / name) for name in "abc"]
    for name in names:
        Path(name).write_bytes(b"content")
    return names


def put(url: str, *words: str) -> Result:
    return CliRunner().invoke(main, ["put", "--url", url, "--key", "ipfs_gw_secret", *words])


def reports(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_an_unreachable_server_is_said_once_and_reported_for_every_file(files: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
    result = put(url, "--json", *files)
    assert result.exit_code == 3
    assert result.stderr.count("no Moorage answers") == 1
    told = reports(result)
    assert [report["filename"] for report in told] == ["a", "b", "c"]
    assert [report["error"]["type"] for report in told] == ["unreachable", "not-sent", "not-sent"]
    assert "no Moorage answers" in told[2]["error"]["message"]
    assert put(url, *files).stdout == ""


def test_after_a_refused_key_the_rest_is_reported_and_not_sent(moorage: FakeMoorage, files: list[str]) -> None:
    moorage.will(problem(401, "A valid key is needed."))
    result = put(moorage.url, "--json", *files)
    assert (result.exit_code, len(moorage.seen)) == (5, 1)
    assert [report["filename"] for report in reports(result)] == ["a", "b", "c"]
    assert all("error" in report and "task_id" not in report for report in reports(result))


def test_a_task_that_was_cancelled_has_no_line_among_the_results(moorage: FakeMoorage, files: list[str]) -> None:
    moorage.will(Answer(202, b'{"task_id": "task-1", "state": "PENDING", "filename": "a", "size_bytes": 7}'))
    moorage.will(task("REVOKED"))
    result = put(moorage.url, "--follow", files[0])
    assert (result.exit_code, result.stdout) == (1, "")
    assert "cancelled" in result.stderr
