"""What must be true before `moorage up` starts anything, each refusal one sentence that says what to do.

Refused
├── FolderUnusable     the data folder cannot be made or written
├── FolderHeld         another `moorage up` serves this data folder
├── AddressUnusable    the port is taken, or not ours to take
└── NearlyFull         too little room on the data volume
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import socket
import tempfile
from pathlib import Path
from typing import Self

import msgspec

MIB = 1024 * 1024


class Refused(Exception):
    """`moorage up` does not start. `str(error)` is the sentence for the user."""


class FolderUnusable(Refused):
    """The data folder cannot be made or written."""

    def __init__(self, data: Path, reason: str) -> None:
        self.data, self.reason = data, reason
        super().__init__(f"the data folder {data} cannot be used: {reason}; choose another with --data")


class FolderHeld(Refused):
    """Another `moorage up` serves this data folder."""

    def __init__(self, data: Path, holder: Holder | None) -> None:
        self.data, self.holder = data, holder
        who = f"process {holder.pid} at {holder.address}" if holder else "another process"
        super().__init__(f"{data} is already served by {who}; stop it or choose another --data")


class AddressUnusable(Refused):
    """Nobody can listen on this address now."""

    def __init__(self, host: str, port: int, reason: str) -> None:
        self.host, self.port, self.reason = host, port, reason
        super().__init__(f"cannot listen on {host} port {port}: {reason}")


class NearlyFull(Refused):
    """Too little room on the data volume."""

    def __init__(self, data: Path, free_bytes: int, min_free_bytes: int) -> None:
        self.data, self.free_bytes, self.min_free_bytes = data, free_bytes, min_free_bytes
        room = f"only {free_bytes // MIB} MiB are free on the volume of {data}"
        wanted = f"Moorage wants at least {-(-min_free_bytes // MIB)} MiB"
        super().__init__(f"{room} and {wanted}; make room, or lower MOORAGE_MIN_FREE_BYTES")


class Holder(msgspec.Struct, frozen=True):
    """Who holds a data folder, as written into its lock file."""

    pid: int
    address: str
    started: float
    """Seconds since the epoch."""


class DataLock:
    """Holds a data folder from `acquire` until the end of its `with` block, or of this process, however it ends."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def acquire(cls, data: Path) -> DataLock:
        """Takes the folder's lock. Raises FolderHeld, FolderUnusable."""
        try:
            descriptor = os.open(data / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise FolderUnusable(data, _words(error)) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _read_holder(descriptor)
            os.close(descriptor)
            raise FolderHeld(data, holder) from None
        os.ftruncate(descriptor, 0)
        return cls(descriptor)

    def sign(self, holder: Holder) -> None:
        """Writes down who holds the folder, for whoever finds it held."""
        os.pwrite(self._descriptor, msgspec.json.encode(holder), 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Lets the folder go. The file stays: removing it would let two processes lock two different files."""
        os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)


def usable_folder(data: Path) -> Path:
    """Makes the folder, private to its user, and proves that files can be written in it. Raises FolderUnusable."""
    try:
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=data) as probe:
            probe.write(b"moorage")
    except OSError as error:
        raise FolderUnusable(data, _words(error)) from error
    return data.resolve()


def check_room(data: Path, min_free_bytes: int) -> None:
    """Raises NearlyFull when the folder's volume has less than `min_free_bytes` for us."""
    free_bytes = shutil.disk_usage(data).free
    if free_bytes < min_free_bytes:
        raise NearlyFull(data, free_bytes, min_free_bytes)


def free_port(host: str, port: int) -> int:
    """Proves that `port` can be listened on and returns it; 0 stands for any free one. Raises AddressUnusable."""
    try:
        [(family, kind, protocol, _, address), *_] = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            return int(probe.getsockname()[1])
    except socket.gaierror as error:
        raise AddressUnusable(host, port, "the host has no address; choose another with --host") from error
    except OSError as error:
        raise AddressUnusable(host, port, _why_not_bound(error)) from error


def _why_not_bound(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "another program listens there; stop it or choose another --port"
    if error.errno == errno.EACCES:
        return "ports below 1024 need privileges; choose another --port"
    if error.errno == errno.EADDRNOTAVAIL:
        return "this machine does not have that address; choose another --host"
    return _words(error)


def _read_holder(descriptor: int) -> Holder | None:
    with contextlib.suppress(OSError, msgspec.DecodeError):
        return msgspec.json.decode(os.pread(descriptor, 4096, 0), type=Holder)
    return None  # locked a moment ago and not yet written, or written by something else


def _words(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
