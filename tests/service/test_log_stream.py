from __future__ import annotations

import json
import threading

from service.log_stream import BUFFER_BYTES, LogStream
from tasks.clock import ManualClock
from tests.service.child_programs import CapturedLog


class StuckReader(CapturedLog):
    """A terminal on which somebody pressed Ctrl-S."""

    def __init__(self) -> None:
        super().__init__()
        self.stuck = threading.Event()
        self.released = threading.Event()

    def write(self, data: bytes) -> int:
        self.stuck.set()
        self.released.wait(20)
        return super().write(data)


class GoneReader(CapturedLog):
    """A pipe whose reader has left."""

    def __init__(self) -> None:
        super().__init__()
        self.tried = threading.Event()

    def write(self, data: bytes) -> int:
        self.tried.set()
        raise BrokenPipeError


def test_lines_come_out_whole_and_in_order(captured: CapturedLog) -> None:
    log = LogStream(captured, "console", ["api"], ManualClock())
    log.child_lines("api", [b"one", b"two"])
    log.say("three")
    log.close()
    assert captured.text == "[api] one\n[api] two\n[up ] three\n"


def test_as_json_every_line_is_an_object(captured: CapturedLog) -> None:
    log = LogStream(captured, "json", ["api"], ManualClock())
    log.child_lines("api", [b'{"event": "mine"}', b"plain"])
    log.say("api died", "warning", child="api")
    log.close()
    lines = [json.loads(line) for line in captured.text.splitlines()]
    assert [line["event"] for line in lines] == ["mine", "plain", "api died"]
    assert lines[2]["role"] == "up"
    assert lines[2]["child"] == "api"


def test_a_reader_that_is_stuck_stops_nobody_and_is_told_what_it_missed() -> None:
    reader = StuckReader()
    log = LogStream(reader, "console", ["api"], ManualClock())
    log.say("first")
    assert reader.stuck.wait(20)
    for _ in range(2 * BUFFER_BYTES // 100_000):
        log.child_lines("api", [b"x" * 100_000])
    reader.released.set()
    reader.wait_for("log lines were dropped because nobody read them")
    log.close()
    assert len(reader.text) < BUFFER_BYTES + 1_000


def test_a_reader_that_left_is_no_error() -> None:
    reader = GoneReader()
    log = LogStream(reader, "console", ["api"], ManualClock())
    log.say("first")
    assert reader.tried.wait(20)
    log.say("second")
    log.close()
