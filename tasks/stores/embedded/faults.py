"""What the disk and SQLite can say, as the errors of the work."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from tasks.errors import DiskFull, StoreUnavailable

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def translated() -> Iterator[None]:
    """Raises DiskFull and StoreUnavailable in place of what the system says; other OSErrors stay as they are."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise DiskFull from error
        if error.errno == errno.EXDEV:
            raise StoreUnavailable("the staging folder and the store must be on one volume") from error
        raise
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            raise DiskFull from error
        raise StoreUnavailable(f"its index says {error}") from error
