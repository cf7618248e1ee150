"""Additions that are killed at every step, and processes that add at once: one file is left, and the answer."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tasks.stores.embedded.store import EmbeddedStore
from tests.stores.additions import DATA, DEADLINE_SECONDS, files_in, ignore

Stage = Callable[[bytes], Path]
Read = Callable[..., Awaitable[bytes]]

ADD_IN_CHILD = """
import asyncio, os, signal, sys
from pathlib import Path
from tasks.stores.embedded import adding, folder, index
from tasks.stores.embedded.store import EmbeddedStore
from tasks.stores.protocol import Profile

def die(*arguments, **options):
    os.kill(os.getpid(), signal.SIGKILL)

def dies_after(owner, name):
    original = getattr(owner, name)
    def then_die(*arguments, **options):
        original(*arguments, **options)
        die()
    setattr(owner, name, then_die)

async def main(store_folder, staged, key, kill_at):
    store = EmbeddedStore(Path(store_folder))
    await store.open()
    points = {
        "before the rename": lambda: setattr(folder.Folder, "take", die),
        "after the rename": lambda: setattr(folder.os, "fchmod", die),
        "while hashing": lambda: setattr(adding.Adder, "_settle", die),
        "before registering": lambda: setattr(index.Index, "register", die),
        "after registering": lambda: dies_after(index.Index, "register"),
        "between two transactions": lambda: (setattr(adding, "ROWS_A_TRANSACTION", 2),
                                             dies_after(index.Index, "record")),
        "after recording": lambda: dies_after(adding.Adder, "_record"),
        "before removing the second copy": lambda: setattr(folder.Folder, "remove", die),
        "inside the removing transaction": lambda: dies_after(folder.Folder, "remove"),
        "never": lambda: None,
    }
    points[kill_at]()
    print("ready", flush=True)
    sys.stdin.readline()
    added = await store.add_file(Path(staged), key, "unixfs-v1-2025", lambda hashed_bytes: None)
    print(added.cid)
    await store.close()

asyncio.run(main(*sys.argv[1:]))
"""


def start_child(tmp_path: Path, staged: Path, key: str, kill_at: str) -> subprocess.Popen[str]:
    """A process that adds `staged` when told to, and is killed at the named point."""
    child = subprocess.Popen(
        [sys.executable, "-c", ADD_IN_CHILD, str(tmp_path / "store"), str(staged), key, kill_at],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert child.stdout
    assert child.stdout.readline() == "ready\n"
    return child


KILL_POINTS = [
    "before the rename",
    "after the rename",
    "while hashing",
    "before registering",
    "after registering",
    "between two transactions",
    "after recording",
]
DUPLICATE_KILL_POINTS = [
    *KILL_POINTS,
    "before removing the second copy",
    "inside the removing transaction",
]


@pytest.mark.parametrize("kill_at", KILL_POINTS)
async def test_a_killed_addition_is_finished_by_the_same_call(
    embedded: EmbeddedStore, stage: Stage, read: Read, tmp_path: Path, kill_at: str
) -> None:
    staged = stage(DATA)
    child = start_child(tmp_path, staged, "key", kill_at)
    child.communicate("go\n", timeout=DEADLINE_SECONDS)
    assert child.returncode == -9
    added = await embedded.add_file(staged, "key", "unixfs-v1-2025", ignore)
    assert await read(embedded, added.cid) == DATA
    assert files_in(tmp_path) == ["key"]
    assert not staged.exists()
    assert await embedded.orphans() == []


@pytest.mark.parametrize("kill_at", DUPLICATE_KILL_POINTS)
async def test_a_killed_addition_of_known_content_leaves_one_file_after_the_same_call(
    embedded: EmbeddedStore, stage: Stage, read: Read, tmp_path: Path, kill_at: str
) -> None:
    first = await embedded.add_file(stage(DATA), "first", "unixfs-v1-2025", ignore)
    staged = stage(DATA)
    child = start_child(tmp_path, staged, "second", kill_at)
    child.communicate("go\n", timeout=DEADLINE_SECONDS)
    assert child.returncode == -9
    assert await embedded.add_file(staged, "second", "unixfs-v1-2025", ignore) == first
    assert files_in(tmp_path) == ["first"]
    assert not staged.exists()
    assert await read(embedded, first.cid) == DATA


async def test_two_processes_that_add_the_same_content_at_once_keep_one_file(
    embedded: EmbeddedStore, stage: Stage, read: Read, tmp_path: Path
) -> None:
    children = [start_child(tmp_path, stage(DATA), f"key-{number}", "never") for number in range(2)]
    for child in children:
        assert child.stdin
        child.stdin.write("go\n")
        child.stdin.flush()
    answers = {child.communicate(timeout=DEADLINE_SECONDS)[0] for child in children}
    assert len(answers) == 1
    assert len(files_in(tmp_path)) == 1
    added = await embedded.add_file(tmp_path / "gone", "key-0", "unixfs-v1-2025", ignore)
    assert answers == {f"{added.cid}\n"}
    assert await read(embedded, added.cid) == DATA


async def test_two_processes_that_add_under_the_same_key_both_get_the_answer(
    embedded: EmbeddedStore, stage: Stage, tmp_path: Path
) -> None:
    staged = stage(DATA)
    child = start_child(tmp_path, staged, "key", "never")
    assert child.stdin
    child.stdin.write("go\n")
    child.stdin.flush()
    added = await embedded.add_file(staged, "key", "unixfs-v1-2025", ignore)
    assert child.communicate(timeout=DEADLINE_SECONDS)[0] == f"{added.cid}\n"
    assert files_in(tmp_path) == ["key"]


async def test_a_registered_leftover_is_discarded_with_its_blocks(
    embedded: EmbeddedStore, stage: Stage, tmp_path: Path
) -> None:
    child = start_child(tmp_path, stage(DATA), "leftover", "between two transactions")
    child.communicate("go\n", timeout=DEADLINE_SECONDS)
    assert await embedded.orphans() == ["leftover"]
    assert await embedded.discard("leftover")
    with embedded._index._connections.lend() as connection:
        for table in ("files", "leaves", "inner_nodes"):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
