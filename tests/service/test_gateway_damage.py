"""Content that is damaged on disk: an error or a short answer, counted, and never a wrong byte."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tasks.settings import TaskSettings
from tests.observability.conftest import LogLines
from tests.service.gateway_contents import problem, stored
from tests.service.served import Served, served

MIB = 1 << 20


@pytest.fixture
def damage(task_settings: TaskSettings, log_lines: LogLines) -> Iterator[Callable[[bytes, int], tuple[Served, str]]]:
    """Stores a file in a store of its own and flips one bit of it on the disk."""
    with served(task_settings) as running:

        def store_and_flip(data: bytes, at: int) -> tuple[Served, str]:
            with running.client(running.key("ann")) as ann:
                cid = stored(running, ann, data)
            [file] = [path for path in (task_settings.store_folder / "files").rglob("*") if path.is_file()]
            flip_bit(file, at)
            return running, cid

        yield store_and_flip


def flip_bit(file: Path, at: int) -> None:
    file.chmod(0o600)
    with file.open("r+b") as opened:
        opened.seek(at)
        [byte] = opened.read(1)
        opened.seek(at)
        opened.write(bytes([byte ^ 1]))


def verify_failures(running: Served) -> float:
    with running.client() as anyone:
        lines = anyone.get("/metrics").text.splitlines()
    return float(next(line for line in lines if line.startswith("moorage_store_verify_failures_total ")).split()[1])


def damaged_lines(log_lines: LogLines) -> list[tuple[str, str]]:
    return [(line["level"], line["cid"]) for line in log_lines() if line["event"] == "content.damaged"]


def test_damage_at_the_beginning_is_an_error_before_the_first_byte(
    damage: Callable[[bytes, int], tuple[Served, str]], log_lines: LogLines
) -> None:
    data = random.Random(4).randbytes(3 * MIB)
    running, cid = damage(data, 5)
    assert verify_failures(running) == 0
    with running.client(running.key("ann")) as ann:
        assert problem(ann.get(f"/ipfs/{cid}")) == (500, "content-damaged")
        assert verify_failures(running) == 1
        assert damaged_lines(log_lines) == [("error", cid)]
        sound = ann.get(f"/ipfs/{cid}", headers={"Range": f"bytes={MIB}-"})
    assert (sound.status_code, sound.content) == (206, data[MIB:]), "what is sound can still be read"


def test_damage_further_in_cuts_the_answer_short_and_never_gives_a_wrong_byte(
    damage: Callable[[bytes, int], tuple[Served, str]], log_lines: LogLines
) -> None:
    data = random.Random(3).randbytes(6 * MIB)
    running, cid = damage(data, 4 * MIB + 100)
    got = b""
    with (
        running.client(running.key("ann")) as ann,
        pytest.raises(httpx.RemoteProtocolError),
        ann.stream("GET", f"/ipfs/{cid}") as answer,
    ):
        assert (answer.status_code, answer.headers["content-length"]) == (200, str(6 * MIB))
        for piece in answer.iter_raw():
            got += piece
    assert got == data[: len(got)]
    assert len(got) <= 4 * MIB
    assert verify_failures(running) == 1
    assert damaged_lines(log_lines) == [("error", cid)]
    with running.client() as anyone:
        assert anyone.get("/livez").status_code == 200


def test_a_damaged_block_is_not_given_raw_either(damage: Callable[[bytes, int], tuple[Served, str]]) -> None:
    running, cid = damage(b"a few bytes", 3)
    with running.client(running.key("ann")) as ann:
        assert problem(ann.get(f"/ipfs/{cid}?format=raw")) == (500, "content-damaged")
        assert ann.head(f"/ipfs/{cid}").status_code == 500
    assert verify_failures(running) == 2
