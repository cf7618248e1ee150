"""The store's files: `files/<two hex digits>/<key>`, one for each addition that brought new bytes.

They come by rename, are made read-only, and are never written again. Names are keys, so a lost file can be told by its
upload. A rename is durable when its folders have been synced; the bytes were synced by whoever sealed them.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from io import BufferedReader
from pathlib import Path

from tasks.errors import StoreUnavailable

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
_READ_ONLY = 0o400
_PRIVATE = 0o700


class Folder:
    """The folder `root` and the files in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._files = root / "files"

    def prepare(self) -> None:
        """Makes the folders, for this user only."""
        self.root.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
        self._files.mkdir(mode=_PRIVATE, exist_ok=True)
        _sync(self.root)

    def check(self) -> None:
        """Raises StoreUnavailable when the folder is gone: what it holds is out of reach then, and not lost."""
        if not self._files.is_dir():
            raise StoreUnavailable("its folder is not there")

    def path(self, key: str) -> Path:
        """Where the file of `key` lies. Raises ValueError when the key could be taken for a path."""
        if not _KEY.fullmatch(key):
            raise ValueError(f"not a key: {key!r}")
        # A hash spreads the files evenly whatever the keys begin with; time-ordered ids begin alike.
        return self._files / hashlib.sha256(key.encode()).hexdigest()[:2] / key

    def take(self, staged: Path, key: str) -> BufferedReader:
        """Moves `staged` in, unless an earlier call has, and opens it. Raises FileNotFoundError if neither is there."""
        place = self.path(key)
        if not place.parent.is_dir():
            place.parent.mkdir(mode=_PRIVATE, exist_ok=True)
            _sync(self._files)
        with suppress(FileNotFoundError):
            staged.rename(place)
            _sync(staged.parent)
        file = place.open("rb")
        os.fchmod(file.fileno(), _READ_ONLY)
        _sync(place.parent)
        return file

    def open(self, key: str) -> BufferedReader:
        """The file of `key`. Raises FileNotFoundError."""
        return self.path(key).open("rb")

    def remove(self, key: str) -> bool:
        """Removes the file of `key`; false when there was none."""
        try:
            self.path(key).unlink()
        except FileNotFoundError:
            return False
        return True

    def keys(self) -> Iterator[str]:
        """The key of every file."""
        for shard in self._files.iterdir():
            for file in shard.iterdir():
                yield file.name


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
