"""The index: which files hold which blocks, and what every addition became. Every method blocks; call it in a thread.

A file is registered once it is certain that no other file holds the same bytes; from then on it stays. Its leaves and
inner nodes follow, and the addition's own row comes last, so whatever a crash leaves behind is true and harmless.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tasks.stores.cid import CID
from tasks.stores.embedded.connections import Connections
from tasks.stores.layout import Inner, Leaf
from tasks.stores.protocol import AddedFile, Profile

MAX_COPIES = 64
"""Of one block, that are tried before it is called damaged."""


MAX_RIVALS = 8
"""Files that a new one is compared with; otherwise many made to look alike could make every addition slow."""


class Likeness(NamedTuple):
    """What equal files have in common, cheap to tell."""

    fingerprint: bytes
    size_bytes: int


class Holder(NamedTuple):
    """A registered file."""

    file_id: int
    key: str


class Position(NamedTuple):
    """A place where a leaf's bytes should be found."""

    key: str
    offset: int
    length: int
    prefix: bytes
    suffix: bytes


class Addition(NamedTuple):
    """The row that makes an addition complete."""

    key: str
    root: CID
    size_bytes: int
    profile: Profile


class Index:
    """The index in the SQLite database at `path`."""

    def __init__(self, path: Path) -> None:
        self._connections = Connections(path)

    def open(self) -> None:
        """Creates it if there is none. Raises StoreUnavailable when a newer version has written it."""
        self._connections.prepare()

    def close(self) -> None:
        """Lets go of the database."""
        self._connections.close()

    def check(self) -> None:
        """Reads something. Raises sqlite3.Error."""
        with self._connections.lend() as connection:
            connection.execute("SELECT 1 FROM files LIMIT 1").fetchone()

    def addition(self, key: str) -> AddedFile | None:
        """What `key` became, when it is complete."""
        with self._connections.lend() as connection:
            return _addition(connection, key)

    def register(self, key: str, likeness: Likeness, unlike: frozenset[int]) -> Holder | list[Holder]:
        """Makes the file of `key` a holder, unless files that may equal it must be compared first: then gives those.

        `unlike` are the files already found to differ. Of two processes that bring the same bytes at the same moment
        one registers, and the other is given its file to compare.
        """
        with self._connections.transaction() as connection:
            own = connection.execute("SELECT file_id, key FROM files WHERE key = ?", (key,)).fetchone()
            if own:
                return Holder(*own)
            alike = connection.execute(
                "SELECT file_id, key FROM files WHERE fingerprint = ? AND size_bytes = ? ORDER BY file_id DESC LIMIT ?",
                (*likeness, MAX_RIVALS),
            ).fetchall()
            rivals = [Holder(*row) for row in alike if row[0] not in unlike]
            if rivals and len(unlike) < MAX_RIVALS:
                return rivals
            inserted = connection.execute(
                "INSERT INTO files (key, fingerprint, size_bytes) VALUES (?, ?, ?)", (key, *likeness)
            )
            assert inserted.lastrowid is not None
            return Holder(inserted.lastrowid, key)

    def record(self, holder: Holder, parts: Iterable[Leaf | Inner], completes: Addition | None = None) -> None:
        """Writes blocks of a holder's file in one transaction, and the addition that they complete."""
        leaves: list[tuple[int, int, bytes, int, bytes, bytes]] = []
        inner: list[tuple[bytes, int, bytes]] = []
        for part in parts:
            if isinstance(part, Leaf):
                leaves.append((holder.file_id, part.offset, part.multihash, part.length, part.prefix, part.suffix))
            else:
                inner.append((part.multihash, holder.file_id, part.block))
        with self._connections.transaction() as connection:
            connection.executemany("INSERT OR IGNORE INTO leaves VALUES (?, ?, ?, ?, ?, ?)", leaves)
            connection.executemany("INSERT OR IGNORE INTO inner_nodes VALUES (?, ?, ?)", inner)
            if completes:
                row = (
                    completes.key,
                    completes.root.to_bytes(),
                    completes.size_bytes,
                    completes.profile,
                    holder.file_id,
                )
                connection.execute("INSERT OR IGNORE INTO additions VALUES (?, ?, ?, ?, ?)", row)

    def positions(self, multihash: bytes) -> Iterator[Position]:
        """Where a leaf may be read, newest file first: a file that came later may have come to heal an older one."""
        query = "SELECT key, offset, length, prefix, suffix FROM leaves JOIN files USING (file_id)"
        return (Position(*row) for row in self._copies(query, multihash))

    def inner_blocks(self, multihash: bytes) -> Iterator[bytes]:
        """The copies of an inner node, newest first."""
        return (row[0] for row in self._copies("SELECT block FROM inner_nodes", multihash))

    def _copies(self, query: str, multihash: bytes) -> Iterator[tuple[Any, ...]]:
        # One at a time: the first is nearly always good, and a file of zeros has thousands of them.
        for nth in range(MAX_COPIES):
            with self._connections.lend() as connection:
                row = connection.execute(
                    f"{query} WHERE multihash = ? ORDER BY file_id DESC LIMIT 1 OFFSET ?", (multihash, nth)
                ).fetchone()
            if row is None:
                return
            yield row

    def unreferenced(self, keys: Iterable[str]) -> Iterator[str]:
        """Those of `keys` whose file no addition refers to."""
        with self._connections.lend() as connection:
            yield from (key for key in keys if not _is_referenced(connection, key))

    def forget(self, key: str, remove_file: Callable[[str], bool]) -> bool:
        """Removes the file of `key` and its blocks if no addition refers to it; whether there was one to remove.

        The file goes inside the transaction, so nobody can come to depend on it meanwhile.
        """
        with self._connections.transaction() as connection:
            if _is_referenced(connection, key):
                return False
            connection.execute("DELETE FROM files WHERE key = ?", (key,))
            return remove_file(key)


def _addition(connection: sqlite3.Connection, key: str) -> AddedFile | None:
    row = connection.execute("SELECT root, size_bytes FROM additions WHERE key = ?", (key,)).fetchone()
    return AddedFile(CID.from_bytes(row[0]), row[1]) if row else None


def _is_referenced(connection: sqlite3.Connection, key: str) -> bool:
    query = "SELECT 1 FROM files JOIN additions USING (file_id) WHERE files.key = ?"
    return connection.execute(query, (key,)).fetchone() is not None
