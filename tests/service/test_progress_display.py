from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.progress import Progress, TextColumn

from service.client import TaskError, TaskStatus
from service.progress_display import BarDisplay, Pace, PlainDisplay, describe, readable_bytes
from tasks.clock import ManualClock

MIB = 1024 * 1024


def test_lines_are_due_every_ten_per_cent() -> None:
    pace = Pace(ManualClock())
    assert [percent for percent in range(101) if pace.is_due("sent", percent)] == [*range(10, 101, 10)]


def test_a_slow_transfer_is_told_of_every_five_seconds() -> None:
    clock = ManualClock()
    pace = Pace(clock)
    told = []
    for second in range(1, 13):
        clock.advance(1)
        if pace.is_due("sent", None):
            told.append(second)
    assert told == [5, 10]


def test_plain_lines_name_the_file_the_share_and_the_bytes() -> None:
    output = io.StringIO()
    shown = PlainDisplay("big.iso", output, ManualClock())
    for done in range(0, 300 * MIB + 1, MIB):
        shown.moved("sent", done, 300 * MIB)
    lines = output.getvalue().splitlines()
    assert len(lines) == 10
    assert lines[3] == "big.iso: sent 40 %: 120.0 MiB of 300.0 MiB"
    assert lines[-1] == "big.iso: sent 100 %: 300.0 MiB of 300.0 MiB"


def test_every_change_of_state_is_a_line_even_a_quick_one() -> None:
    output = io.StringIO()
    shown = PlainDisplay("big.iso", output, ManualClock())
    for state, progress in (("PENDING", 0.0), ("PENDING", 0.0), ("STARTED", 0.0), ("PROGRESS", 3.0), ("PROGRESS", 4.0)):
        shown.task(TaskStatus("id", state, progress))
    assert output.getvalue().splitlines() == ["big.iso: PENDING 0 %", "big.iso: STARTED 0 %", "big.iso: PROGRESS 3 %"]


def test_bars_show_the_bytes_and_the_task() -> None:
    output = io.StringIO()
    columns = (TextColumn("{task.percentage:.0f}"), TextColumn("{task.fields[words]}"))
    shown = BarDisplay("big.iso", Progress(*columns, console=Console(file=output, width=100, force_terminal=True)))
    shown.moved("sent", MIB, 4 * MIB)
    shown.task(TaskStatus("id", "PROGRESS", 40.0, message="hashing"))
    shown.close()
    assert "25 sent 1.0 MiB of 4.0 MiB" in output.getvalue()
    assert "40 PROGRESS 40 %: hashing" in output.getvalue()


def test_a_failure_is_described_by_its_reason() -> None:
    failed = TaskStatus("id", "FAILURE", 40.0, message="hashing", error=TaskError("DiskFull", "the volume is full"))
    assert describe(failed) == "FAILURE: the volume is full"


@pytest.mark.parametrize(
    ("size_bytes", "words"),
    [(0, "0 B"), (1023, "1023 B"), (2048, "2 KiB"), (3 * MIB, "3.0 MiB"), (2**50, "1024.0 TiB")],
)
def test_sizes_are_readable(size_bytes: int, words: str) -> None:
    assert readable_bytes(size_bytes) == words
