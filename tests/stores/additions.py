"""What the tests of adding share: content of several blocks, and a look at what lies on disk."""

from __future__ import annotations

from pathlib import Path

DATA = b"".join(number.to_bytes(8, "big") for number in range(400_000))  # four leaves, all different
DEADLINE_SECONDS = 30


def ignore(hashed_bytes: int) -> None:
    """A caller without interest in progress."""


def files_in(tmp_path: Path) -> list[str]:
    """The keys of the files on disk."""
    return sorted(path.name for path in (tmp_path / "store" / "files").glob("*/*"))
