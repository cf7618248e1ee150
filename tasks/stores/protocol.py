"""What every content store can do. Extras (pinning, listing, collecting) are Protocols of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import msgspec

from tasks.stores.cid import CID

Profile = Literal["unixfs-v1-2025", "unixfs-v0-2015"]
"""Import profiles of IPIP-499; each fixes chunk size, links a node, leaf format and CID version."""

DEFAULT_PROFILE: Profile = "unixfs-v1-2025"


class AddedFile(msgspec.Struct, frozen=True):
    """What a file became: its root and the bytes it holds."""

    cid: CID
    size_bytes: int


class FileStat(msgspec.Struct, frozen=True):
    """What is known of a stored file without reading its content."""

    cid: CID
    size_bytes: int


class ContentStore(Protocol):
    """Content by CID. Every method may be called from many tasks at once and never blocks the event loop."""

    async def open(self) -> None:
        """Makes the store usable; safe to call when other processes have it open."""

    async def close(self) -> None:
        """Lets go of files and threads."""

    async def check(self) -> None:
        """Proves that the store answers. Raises StoreError or OSError when it does not."""

    async def add_file(self, staged: Path, key: str, profile: Profile, on_progress: Callable[[int], None]) -> AddedFile:
        """Takes over the sealed file `staged` and returns its root; durable when it returns.

        `key` names this addition for ever (an upload's task id): after a crash the same call finishes the work,
        wherever it had stopped, and after a success it returns the same answer. On return `staged` is gone.
        `on_progress` gets the number of bytes hashed so far, from any thread, in rising order. Cancelling it leaves
        the file where a later call finds it. Raises StagedFileMissing when neither the staging folder nor the store
        has the bytes, and DiskFull.
        """

    async def stat(self, cid: CID) -> FileStat:
        """The file's size. Raises BlockNotFound, BlockDamaged, UnsupportedCID (not a file)."""

    async def read_block(self, cid: CID) -> bytes:
        """One block, verified. Raises BlockNotFound, BlockDamaged, UnsupportedCID."""

    def read_file(self, cid: CID, start: int, stop: int) -> AsyncIterator[bytes]:
        """The bytes [start, stop) of a file in pieces of at most 1 MiB or so, each verified before it is given.

        Raises BlockNotFound, BlockDamaged, UnsupportedCID, before the first piece or between two.
        """


@runtime_checkable
class LeavesOrphans(Protocol):
    """A store in which a crash can leave a file that no addition refers to."""

    async def orphans(self) -> list[str]:
        """The keys of such files."""

    async def discard(self, key: str) -> None:
        """Removes such a file, unless an addition has come to refer to it."""
