"""Temp files of uploads on the data volume: created, written in large batches, sealed, and swept when abandoned.

A file that is being received is `<task id>.part`; sealed (all its bytes on disk, read-only) it is `<task id>.sealed`.
Whoever writes one holds a lock on it, which the kernel lets go when that process dies, however it dies: so a file that
can be locked is nobody's, and the sweeper never needs to guess by age.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import aiofiles.os

from tasks.errors import DiskFull

PART, SEALED = ".part", ".sealed"
SEALED_MODE = 0o400
MOST_PIECES = 1024
"""Most buffers one `writev` takes (IOV_MAX)."""

IsWanted = Callable[[Sequence[str]], Awaitable[set[str]]]
"""Which of these task ids still need their sealed file."""


class StagedFile:
    """One upload's file while it is received. All methods leave the event loop free."""

    def __init__(self, folder: Path, task_id: str, descriptor: int) -> None:
        self._folder, self._task_id, self._descriptor = folder, task_id, _Descriptor(descriptor)
        self.size_bytes = 0
        self.sealed = False

    async def write(self, pieces: list[bytes]) -> None:
        """Appends `pieces` in one hop to a thread. Raises DiskFull."""
        self.size_bytes += await _write_all(self._descriptor, pieces)

    async def seal(self) -> None:
        """Makes the bytes durable under the sealed name. Raises DiskFull. The lock is kept until `close`."""
        await _seal(self._descriptor, self._folder, self._task_id)
        self.sealed = True

    async def discard(self) -> None:
        """Removes the file."""
        await _discard(self._descriptor, self._folder, self._task_id)

    async def close(self) -> None:
        """Lets the file go: it is the catalog's to protect now."""
        await aiofiles.os.wrap(self._descriptor.close)()


class _Descriptor:
    """An open file, which is not closed while a thread still uses it.

    A cancelled upload leaves its last write behind in a thread. Closing the file under it would give the file's number
    to the next one that is opened, another upload perhaps, and the rest of the bytes with it.
    """

    def __init__(self, number: int) -> None:
        self._number, self._is_open, self._lock = number, True, threading.Lock()

    @contextmanager
    def used(self) -> Iterator[int]:
        """Its number, good inside the block. Raises ValueError once it is closed."""
        with self._lock:
            if not self._is_open:
                raise ValueError("the staged file is closed")
            yield self._number

    def close(self) -> None:
        """Closes it, when nobody uses it any more."""
        with self.used() as number:
            self._is_open = False
            os.close(number)


class Staging:
    """The folder of temp files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def open(self) -> None:
        """Makes the folder, if it is not there."""
        await aiofiles.os.makedirs(self._folder, mode=0o700, exist_ok=True)

    async def create(self, task_id: str) -> StagedFile:
        """A new, empty, locked file. Raises DiskFull."""
        return StagedFile(self._folder, task_id, await _create(self._folder, task_id))

    def sealed_path(self, task_id: str) -> Path:
        """Where an accepted upload's bytes wait for their ingest."""
        return self._folder / (task_id + SEALED)

    async def free_bytes(self) -> int:
        """Room left on the volume."""
        status = await aiofiles.os.wrap(os.statvfs)(self._folder)
        return int(status.f_bavail * status.f_frsize)

    async def sweep(self, is_wanted: IsWanted) -> list[str]:
        """Removes abandoned files; returns their names. Files that are being written are left alone."""
        names = await _abandoned(self._folder)
        sealed_ids = [name.removesuffix(SEALED) for name in names if name.endswith(SEALED)]
        wanted = await is_wanted(sealed_ids)
        unwanted = [name for name in names if name.removesuffix(SEALED) not in wanted]
        return await _remove_abandoned(self._folder, unwanted)


@aiofiles.os.wrap
def _create(folder: Path, task_id: str) -> int:
    while True:
        try:
            descriptor = os.open(folder / (task_id + PART), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _translated(error) from error
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return descriptor
        os.close(descriptor)  # a sweeper came between the two calls; the next file is as good


@aiofiles.os.wrap
def _write_all(descriptor: _Descriptor, pieces: list[bytes]) -> int:
    total = 0
    try:
        with descriptor.used() as number:
            for start in range(0, len(pieces), MOST_PIECES):
                total += _write_batch(number, pieces[start : start + MOST_PIECES])
            _begin_writeback(number, total)
    except OSError as error:
        raise _translated(error) from error
    return total


def _write_batch(descriptor: int, pieces: list[bytes]) -> int:
    size = sum(map(len, pieces))
    written = os.writev(descriptor, pieces)
    if written < size:  # a signal or a nearly full disk: say the rest again, and hear the error if there is one
        rest = memoryview(b"".join(pieces))[written:]
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    return size


def _begin_writeback(descriptor: int, size_bytes: int) -> None:
    """Has the kernel begin to put the last `size_bytes` on disk, so that the fsync at the end finds little left to do.

    The advice is "not needed", on which Linux writes dirty pages back; as they are dirty still, it drops none.
    """
    if hasattr(os, "posix_fadvise"):
        end = os.lseek(descriptor, 0, os.SEEK_CUR)
        os.posix_fadvise(descriptor, end - size_bytes, size_bytes, os.POSIX_FADV_DONTNEED)


@aiofiles.os.wrap
def _seal(descriptor: _Descriptor, folder: Path, task_id: str) -> None:
    try:
        with descriptor.used() as number:
            os.fchmod(number, SEALED_MODE)
            os.fsync(number)
            (folder / (task_id + PART)).rename(folder / (task_id + SEALED))
            _sync_folder(folder)
    except OSError as error:
        raise _translated(error) from error


@aiofiles.os.wrap
def _discard(descriptor: _Descriptor, folder: Path, task_id: str) -> None:
    (folder / (task_id + PART)).unlink(missing_ok=True)
    descriptor.close()


@aiofiles.os.wrap
def _abandoned(folder: Path) -> list[str]:
    found = []
    for path in folder.iterdir():
        if path.name.endswith((PART, SEALED)):
            with _locked(path) as is_ours:
                found += [path.name] if is_ours else []
    return found


@aiofiles.os.wrap
def _remove_abandoned(folder: Path, names: list[str]) -> list[str]:
    removed = []
    for name in names:
        with _locked(folder / name) as is_ours:  # while it is removed: its writer may just have made it
            if is_ours:
                (folder / name).unlink(missing_ok=True)
                removed.append(name)
    return removed


@contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Whether the file could be locked, because it is nobody's; it stays locked inside the block."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield False
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _translated(error: OSError) -> Exception:
    return DiskFull() if error.errno in {errno.ENOSPC, errno.EDQUOT} else error
