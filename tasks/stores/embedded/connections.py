"""SQLite connections to the index, lent to one thread at a time, and the schema they find.

WAL lets readers go on while one writes; synchronous FULL makes a commit survive power loss; writers wait for each other
across processes up to the busy timeout, which short transactions keep far away.
"""

from __future__ import annotations

import fcntl
import queue
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tasks.errors import StoreUnavailable

FORMAT: Final = 1
"""Of the index; kept in SQLite's user_version."""

BUSY_TIMEOUT_SECONDS = 30.0

_SCHEMA = (
    """CREATE TABLE files (            -- one for each file in the folder that is a holder of content
        file_id     INTEGER PRIMARY KEY AUTOINCREMENT,  -- never given twice, so a stale position finds nothing
        key         TEXT NOT NULL UNIQUE,
        size_bytes  INTEGER NOT NULL,
        fingerprint BLOB NOT NULL)    -- equal for equal files; unequal files may share it""",
    "CREATE INDEX files_alike ON files (fingerprint, size_bytes)",
    """CREATE TABLE leaves (           -- block = prefix + length bytes of the file from offset + suffix
        file_id   INTEGER NOT NULL REFERENCES files ON DELETE CASCADE,
        offset    INTEGER NOT NULL,
        multihash BLOB NOT NULL,
        length    INTEGER NOT NULL,
        prefix    BLOB NOT NULL,
        suffix    BLOB NOT NULL,
        PRIMARY KEY (file_id, offset, multihash)) WITHOUT ROWID""",
    "CREATE INDEX leaves_by_multihash ON leaves (multihash)",
    """CREATE TABLE inner_nodes (
        multihash BLOB NOT NULL,
        file_id   INTEGER NOT NULL REFERENCES files ON DELETE CASCADE,
        block     BLOB NOT NULL,
        UNIQUE (multihash, file_id))""",
    "CREATE INDEX inner_nodes_by_file ON inner_nodes (file_id)",
    """CREATE TABLE additions (        -- what add_file has promised
        key        TEXT PRIMARY KEY,
        root       BLOB NOT NULL,     -- binary CID
        size_bytes INTEGER NOT NULL,
        profile    TEXT NOT NULL,
        file_id    INTEGER NOT NULL REFERENCES files) WITHOUT ROWID""",
    "CREATE INDEX additions_by_file ON additions (file_id)",
    f"PRAGMA user_version = {FORMAT}",
)


class Connections:
    """A pool that grows to as many connections as are in use at once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._idle: queue.LifoQueue[sqlite3.Connection] = queue.LifoQueue()

    def prepare(self) -> None:
        """Creates the index if there is none. Raises StoreUnavailable when a newer version has written it."""
        # SQLite does not wait for other processes while it switches to WAL, so one at a time goes through here.
        with self._path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with self.lend() as connection:
                connection.execute("PRAGMA journal_mode = WAL")
                _migrate(connection)

    @contextmanager
    def lend(self) -> Iterator[sqlite3.Connection]:
        """A connection in autocommit, the caller's alone."""
        try:
            connection = self._idle.get_nowait()
        except queue.Empty:
            connection = self._connect()
        try:
            yield connection
        except sqlite3.Error:
            connection.close()  # whatever state it is in, nobody else shall find it
            raise
        except BaseException:
            self._idle.put(connection)
            raise
        self._idle.put(connection)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A writing transaction: committed and durable at the end, undone by any exception."""
        with self.lend() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Closes the idle connections; nobody may be using the others."""
        while not self._idle.empty():
            self._idle.get().close()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, timeout=BUSY_TIMEOUT_SECONDS, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        return connection


def _migrate(connection: sqlite3.Connection) -> None:
    found: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if found > FORMAT:
        reason = f"its index has format {found}, written by a newer version; this one reads up to {FORMAT}"
        raise StoreUnavailable(reason)
    if found == 0:
        connection.execute("BEGIN IMMEDIATE")
        for statement in _SCHEMA:
            connection.execute(statement)
        connection.execute("COMMIT")
