"""What an upload may take, and what becomes of it when a part or the client goes away: refused, and no trace."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from service.receiving import Room
from tasks.settings import TaskSettings
from tests.service.raw_http import RawConnection
from tests.service.served import Served, served
from tests.waiting import eventually

MIB = 1 << 20
LIMIT_BYTES = 100_000


@contextmanager
def begun(edge: Served, key: str, **headers: object) -> Iterator[RawConnection]:
    """An upload whose head was sent."""
    with RawConnection(edge.url) as connection:
        connection.head("PUT", "/api/v1/uploads/a", X_API_Key=key, **headers)
        yield connection


def nothing_is_left(edge: Served) -> Callable[[], bool]:
    return lambda: not edge.staged_names()


def run(waiting: Coroutine[Any, Any, object]) -> None:
    asyncio.run(waiting)


def is_past(moment: float) -> bool:
    return time.monotonic() >= moment


@pytest.fixture
def limited(task_settings: TaskSettings) -> Iterator[Served]:
    with served(task_settings, max_upload_bytes=LIMIT_BYTES, max_concurrent_uploads=3) as running:
        yield running


def test_an_upload_of_just_the_limit_is_taken_raw_and_in_a_form(limited: Served) -> None:
    with limited.client(limited.key("ann")) as ann:
        data = bytes(LIMIT_BYTES)
        assert ann.put("/api/v1/uploads/a", content=data).status_code == 202
        assert ann.put("/api/v1/uploads/a", content=iter([data])).status_code == 202
        assert ann.post("/api/v1/uploads", files={"f": ("a", data)}).status_code == 202


def test_a_length_above_the_limit_is_refused_before_a_byte_of_the_body_is_sent(limited: Served) -> None:
    for expect in ({}, {"Expect": "100-continue"}):
        with begun(limited, limited.key("ann"), Content_Length=LIMIT_BYTES + 1, **expect) as connection:
            answer = connection.answer()
            assert (answer.status, answer.problem) == (413, "upload-too-large")
            assert connection.received() == b"", "the server hangs up"
    assert limited.staged_names() == []


def test_a_client_that_waits_to_be_asked_is_asked_only_for_what_will_be_taken(limited: Served) -> None:
    with begun(limited, limited.key("ann"), Content_Length=5, Expect="100-continue") as connection:
        assert connection.socket.recv(1000).startswith(b"HTTP/1.1 100 ")
        connection.send(b"hello")
        assert connection.answer().status == 202


def test_curl_does_not_send_what_is_too_large(limited: Served, tmp_path: Path) -> None:
    file = tmp_path / "big"
    with file.open("wb") as out:
        out.truncate(4 * MIB)
    command = ["curl", "-s", "-m", "30", "-T", str(file), "-H", f"X-API-Key: {limited.key('ann')}", "-o", os.devnull]
    command += ["-w", "%{http_code} %{size_upload}", f"{limited.url}/api/v1/uploads/"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.stdout == "413 0"


def test_a_client_that_sends_without_waiting_still_reads_the_refusal(limited: Served) -> None:
    key = limited.key("ann")
    for _ in range(10):
        with limited.client(key) as ann:
            answer = ann.put("/api/v1/uploads/a", content=bytes(8 * MIB))
        assert (answer.status_code, answer.headers["connection"]) == (413, "close")


def test_a_body_without_a_length_is_counted(limited: Served) -> None:
    with begun(limited, limited.key("ann"), Transfer_Encoding="chunked") as connection:
        connection.chunk(bytes(LIMIT_BYTES))
        connection.chunk(b"x")
        answer = connection.answer()
    assert (answer.status, answer.problem) == (413, "upload-too-large")
    assert limited.staged_names() == []
    assert limited.task_ids() == set()


def test_a_form_is_counted_by_its_file(limited: Served) -> None:
    with limited.client(limited.key("ann")) as ann:
        answer = ann.post("/api/v1/uploads", files={"f": ("a", bytes(LIMIT_BYTES + 1))})
    assert answer.status_code == 413
    assert limited.staged_names() == []


def test_when_every_place_is_taken_the_next_is_told_when_to_come_back(limited: Served) -> None:
    key = limited.key("ann")
    with ExitStack() as open_uploads, limited.client(key) as ann:
        held = [
            open_uploads.enter_context(begun(limited, key, Content_Length=5, Expect="100-continue")) for _ in range(3)
        ]
        for connection in held:
            assert connection.socket.recv(1000).startswith(b"HTTP/1.1 100 "), "it has its place"
        refused = ann.put("/api/v1/uploads/a", content=b"x")
        assert (refused.status_code, refused.json()["type"]) == (429, "urn:moorage:problem:too-many-uploads")
        assert int(refused.headers["retry-after"]) > 0
        for connection in held:
            connection.send(b"hello")
            assert connection.answer().status == 202
        assert ann.put("/api/v1/uploads/a", content=b"x").status_code == 202


def test_a_client_that_hangs_up_half_way_leaves_nothing_and_gives_its_place_back(limited: Served) -> None:
    key = limited.key("ann")
    for _ in range(4):
        with begun(limited, key, Content_Length=50_000) as connection:
            connection.send(bytes(10_000))
            run(eventually(limited.staged_names))
        run(eventually(nothing_is_left(limited)))
    assert limited.task_ids() == set()


def test_an_upload_that_stalls_is_ended_and_gives_its_place_back(task_settings: TaskSettings) -> None:
    with served(task_settings, upload_stall_seconds=0.2, max_concurrent_uploads=1) as edge:
        key = edge.key("ann")
        with begun(edge, key, Content_Length=10) as connection:
            connection.send(b"half")
            answer = connection.answer()
        assert (answer.status, answer.problem) == (408, "upload-stalled")
        with edge.client(key) as ann:
            assert ann.put("/api/v1/uploads/a", content=b"x").status_code == 202
        assert len(edge.staged_names()) == 1


def test_a_slow_upload_is_not_a_stalled_one(task_settings: TaskSettings) -> None:
    with (
        served(task_settings, upload_stall_seconds=0.5) as edge,
        begun(edge, edge.key("ann"), Content_Length=8) as slow,
    ):
        began = time.monotonic()
        for number in range(8):
            run(eventually(partial(is_past, began + 0.1 * number)))
            slow.send(b"x")
        assert slow.answer().status == 202


def test_below_the_room_that_must_stay_free_nothing_is_taken(task_settings: TaskSettings) -> None:
    with served(task_settings, min_free_bytes=1 << 60) as edge, edge.client(edge.key("ann")) as ann:
        answer = ann.put("/api/v1/uploads/a", content=b"x")
        assert (answer.status_code, answer.json()["type"]) == (507, "urn:moorage:problem:disk-full")
        assert edge.staged_names() == []


def test_a_length_that_does_not_fit_the_disk_is_refused_before_a_byte_is_sent(limited: Served) -> None:
    settings = limited.parts.settings
    with served(settings, min_free_bytes=0) as edge, begun(edge, edge.key("ann"), Content_Length=1 << 60) as connection:
        assert connection.answer().status == 507


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A volume of 16 MiB. Skips where none can be made."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)]
    if sys.platform != "linux" or os.geteuid() != 0 or not shutil.which("mount"):
        pytest.skip("a full disk takes root on Linux, who may mount a small one")
    if (mounted := subprocess.run(command, capture_output=True, text=True, check=False)).returncode:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_disk_that_fills_up_while_a_body_comes_refuses_it_and_frees_what_it_took(
    small_disk: Path, task_settings: TaskSettings
) -> None:
    settings = msgspec.structs.replace(task_settings, data=small_disk)
    with served(settings, min_free_bytes=0) as edge, edge.client(edge.key("ann")) as ann:
        before = edge.run(edge.parts.staging.free_bytes())
        answer = ann.put("/api/v1/uploads/a", content=(bytes(MIB) for _ in range(32)))
        assert (answer.status_code, answer.json()["type"]) == (507, "urn:moorage:problem:disk-full")
        assert edge.staged_names() == []
        assert edge.task_ids() == set()
        assert edge.run(edge.parts.staging.free_bytes()) >= before - MIB
        assert ann.put("/api/v1/uploads/b", content=b"small").status_code == 202


def test_the_reserve_holds_for_bodies_without_a_length(
    small_disk: Path, task_settings: TaskSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Room, "look_again_bytes", MIB)
    settings = msgspec.structs.replace(task_settings, data=small_disk)
    with (
        served(settings, min_free_bytes=8 * MIB) as edge,
        begun(edge, edge.key("ann"), Transfer_Encoding="chunked") as connection,
    ):
        for _ in range(3):
            connection.chunk(bytes(MIB))
        with contextlib.suppress(ConnectionError):
            for _ in range(9):
                connection.chunk(bytes(MIB))
        answer = connection.answer()
        assert (answer.status, answer.problem) == (507, "disk-full")
        run(eventually(nothing_is_left(edge)))


def test_what_one_upload_announced_is_not_given_to_another(small_disk: Path, task_settings: TaskSettings) -> None:
    settings = msgspec.structs.replace(task_settings, data=small_disk)
    with served(settings, min_free_bytes=0) as edge:
        key = edge.key("ann")
        with begun(edge, key, Content_Length=10 * MIB, Expect="100-continue") as first:
            assert first.socket.recv(1000).startswith(b"HTTP/1.1 100 "), "it has its room"
            with begun(edge, key, Content_Length=10 * MIB, Expect="100-continue") as second:
                assert second.answer().status == 507
        run(eventually(nothing_is_left(edge)))
        with edge.client(key) as ann:
            assert ann.put("/api/v1/uploads/a", content=bytes(10 * MIB)).status_code == 202, "given back"


def test_memory_does_not_grow_with_the_body(limited: Served, task_settings: TaskSettings) -> None:
    """In this process with the client in it; the whole body would be four times what is allowed."""
    with served(task_settings) as edge, edge.client(edge.key("ann")) as ann:
        piece = bytes(MIB)
        assert ann.put("/api/v1/uploads/warm", content=iter([piece] * 8)).status_code == 202
        before_bytes, watch = resident_bytes(), PeakMemory()
        with watch:
            assert ann.put("/api/v1/uploads/big", content=iter([piece] * 256)).status_code == 202
        assert watch.peak_bytes - before_bytes < 64 * MIB


def resident_bytes() -> int:
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


class PeakMemory:
    """Looks at this process's memory a few hundred times a second."""

    def __init__(self) -> None:
        self.peak_bytes = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.003):
            self.peak_bytes = max(self.peak_bytes, resident_bytes())
