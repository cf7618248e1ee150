"""What has been done, read from the file that the tasks append to."""

from __future__ import annotations

from collections import Counter
from pathlib import Path


class Effects:
    """The runs of each message, and the first of each worker's life, as far as the file has been read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.runs: Counter[int] = Counter()
        self.lives: set[str] = set()
        self._offset = 0
        path.touch()

    def read(self) -> int:
        """Reads what has been added; returns how many runs that were."""
        with self.path.open("rb") as file:
            file.seek(self._offset)
            added = file.read()
        lines = added[: added.rfind(b"\n") + 1].decode().splitlines()
        self._offset += added.rfind(b"\n") + 1
        for line in lines:
            life, _, number = line.partition(" ")
            self.lives.add(life)
            self.runs[int(number)] += 1
        return len(lines)

    def repeated(self) -> int:
        """How many runs were not the first of their message."""
        return self.runs.total() - len(self.runs)
