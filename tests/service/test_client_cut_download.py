"""A download that breaks off in the middle ends with the server's reason, where there is one."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from service.cli import main
from tasks.settings import TaskSettings
from tests.service.fake_moorage import CID, Answer, FakeMoorage, problem
from tests.service.gateway_contents import stored
from tests.service.served import served
from tests.service.test_gateway_damage import flip_bit

MIB = 1 << 20
CUT = Answer(body=b"x" * 100_000, cut_after=5_000)


def get(url: str, key: str, cid: str, target: Path) -> Result:
    return CliRunner().invoke(main, ["get", "--url", url, "--key", key, cid, "-o", str(target)])


def test_content_that_is_found_damaged_on_the_way_is_called_so(task_settings: TaskSettings, tmp_path: Path) -> None:
    with served(task_settings) as running:
        key = running.key("ann")
        with running.client(key) as ann:
            cid = stored(running, ann, random.Random(3).randbytes(6 * MIB))
        [file] = [path for path in (task_settings.store_folder / "files").rglob("*") if path.is_file()]
        flip_bit(file, 4 * MIB + 100)
        result = get(running.url, key, cid, tmp_path / "out")
    assert result.exit_code == 1, result.output
    assert "damaged" in result.stderr
    assert "try again" not in result.stderr
    assert not (tmp_path / "out").exists()


def test_the_server_is_asked_once_for_what_is_missing(moorage: FakeMoorage, tmp_path: Path) -> None:
    moorage.will(CUT, problem(503, "The store is away.", Retry_After="0"))
    result = get(moorage.url, "ipfs_gw_secret", CID, tmp_path / "out")
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (1, "moorage: The store is away (request req-1)")
    first, second = moorage.seen
    assert "range" not in first.headers
    assert (second.path, second.headers["range"]) == (f"/ipfs/{CID}", "bytes=5000-")


@pytest.mark.parametrize("then", [Answer(206, b"x" * 95_000), problem(416, "There is no such range.")])
def test_where_there_is_no_reason_trying_again_is_the_advice(
    moorage: FakeMoorage, tmp_path: Path, then: Answer
) -> None:
    moorage.will(CUT, then)
    result = get(moorage.url, "", CID, tmp_path / "out")
    assert (result.exit_code, len(moorage.seen)) == (3, 2)
    assert "try again" in result.stderr
