from __future__ import annotations

import json

from service.log_lines import LONGEST_LINE_BYTES, LineSplitter, console_prefix, json_line

ROLES = ("up", "api", "worker-upload")


def test_lines_are_cut_wherever_the_chunks_end() -> None:
    splitter = LineSplitter()
    assert splitter.feed(b"one\ntw") == [b"one"]
    assert splitter.feed(b"o\r\nthree") == [b"two"]
    assert splitter.finish() == [b"three"]
    assert splitter.finish() == []


def test_a_line_that_never_ends_is_cut_instead_of_kept() -> None:
    splitter = LineSplitter()
    [line] = splitter.feed(b"x" * LONGEST_LINE_BYTES)
    assert len(line) == LONGEST_LINE_BYTES
    assert splitter.finish() == []


def test_names_stand_in_columns_and_have_colours_of_their_own() -> None:
    assert console_prefix("api", ROLES, colours=False) == b"[api          ] "
    coloured = {console_prefix(role, ROLES, colours=True)[:5] for role in ROLES}
    assert len(coloured) == len(ROLES)


def test_a_json_object_passes_untouched() -> None:
    line = b'{"event":  "kept as it is", "role": "api"}'
    assert json_line("api", line, now=0) is line


def test_other_lines_are_wrapped_even_those_that_only_look_like_json() -> None:
    for line in (b"plain", b"{broken", b"[1, 2]", b'{"a": 1} and more', b'"text"'):
        assert json.loads(json_line("api", line, now=0)) == {
            "timestamp": "1970-01-01T00:00:00.000000Z", "level": "info", "role": "api", "event": line.decode(),
        }  # fmt: skip


def test_bytes_that_are_not_text_still_make_valid_json() -> None:
    assert json.loads(json_line("api", b"\xff\xfe{", now=0))["event"] == "\ufffd\ufffd{"


def test_valkey_s_own_prefix_becomes_a_level() -> None:
    line = b"4711:M 22 Nov 2025 10:16:00.123 # Can't save in background: fork: Cannot allocate memory"
    wrapped = json.loads(json_line("broker", line, now=0))
    assert wrapped["level"] == "warning"
    assert wrapped["event"] == "Can't save in background: fork: Cannot allocate memory"
    line = b"17481:signal-handler (1795344164) Received SIGTERM scheduling shutdown..."
    assert json.loads(json_line("broker", line, now=0))["event"] == "Received SIGTERM scheduling shutdown..."
