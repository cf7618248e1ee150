from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tasks.staging import Staging
from tests.tasks.staged import file_names

WRITE_A_PART = """
import asyncio, sys
from pathlib import Path
from tasks.staging import Staging

async def main():
    staging = Staging(Path(sys.argv[1]))
    staged = await staging.create(sys.argv[2])
    await staged.write([b"half of it"])
    if sys.argv[3] == "seal":
        await staged.seal()
    print("written", flush=True)
    sys.stdin.read()

asyncio.run(main())
"""


@contextmanager
def another_process(folder: Path, task_id: str, seal: str = "") -> Iterator[subprocess.Popen[bytes]]:
    """A process that is in the middle of receiving an upload."""
    command = [sys.executable, "-c", WRITE_A_PART, str(folder), task_id, seal]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"written\n"
        yield process
        process.kill()


async def nothing_is_wanted(_task_ids: Sequence[str]) -> set[str]:
    return set()


async def everything_is_wanted(task_ids: Sequence[str]) -> set[str]:
    return set(task_ids)


async def sealed(staging: Staging, task_id: str, content: bytes = b"bytes") -> Path:
    staged = await staging.create(task_id)
    await staged.write([content])
    await staged.seal()
    await staged.close()
    return staging.sealed_path(task_id)


async def test_what_a_killed_process_was_writing_is_swept(staging: Staging) -> None:
    folder = staging.sealed_path("x").parent
    with another_process(folder, "a") as process:
        assert await staging.sweep(nothing_is_wanted) == []
        assert file_names(staging) == ["a.part"], "somebody writes it"
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert await staging.sweep(everything_is_wanted) == ["a.part"]
    assert file_names(staging) == []


async def test_a_sealed_file_is_left_alone_until_its_receiver_has_had_its_say(staging: Staging) -> None:
    folder = staging.sealed_path("x").parent
    with another_process(folder, "a", "seal"):
        assert await staging.sweep(nothing_is_wanted) == []
    assert file_names(staging) == ["a.sealed"]
    assert await staging.sweep(nothing_is_wanted) == ["a.sealed"]


async def test_a_sealed_file_is_swept_unless_it_is_wanted(staging: Staging) -> None:
    await sealed(staging, "wanted")
    await sealed(staging, "unwanted")
    asked: list[str] = []

    async def is_wanted(task_ids: Sequence[str]) -> set[str]:
        asked.extend(task_ids)
        return {"wanted"}

    assert await staging.sweep(is_wanted) == ["unwanted.sealed"]
    assert sorted(asked) == ["unwanted", "wanted"]
    assert file_names(staging) == ["wanted.sealed"]


async def test_what_this_process_is_writing_is_left_alone(staging: Staging) -> None:
    staged = await staging.create("a")
    assert await staging.sweep(nothing_is_wanted) == []
    await staged.write([b"still fine"])
    await staged.seal()
    assert await staging.sweep(nothing_is_wanted) == []
    await staged.close()
    assert staging.sealed_path("a").read_bytes() == b"still fine"


async def test_files_of_others_are_left_alone(staging: Staging) -> None:
    stranger = staging.sealed_path("x").parent / "notes.txt"
    stranger.write_text("not ours")
    assert await staging.sweep(nothing_is_wanted) == []
    assert stranger.exists()


async def test_a_sweep_that_never_ends_takes_no_file_from_those_who_write(staging: Staging) -> None:
    done = asyncio.Event()

    async def sweep() -> None:
        while not done.is_set():
            await staging.sweep(everything_is_wanted)

    async def write(number: int) -> None:
        await sealed(staging, f"t{number}", b"%d" % number)

    sweeping = asyncio.create_task(sweep())
    await asyncio.gather(*(write(number) for number in range(200)))
    done.set()
    await sweeping
    assert all(staging.sealed_path(f"t{number}").read_bytes() == b"%d" % number for number in range(200))
