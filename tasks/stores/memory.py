"""The in-memory twin of the embedded store, for tests and demos: the same CIDs, gone with the process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

from tasks.errors import BlockNotFound, StagedFileMissing, UnsupportedCID
from tasks.stores import multihash, reading, walk
from tasks.stores.cid import CID
from tasks.stores.layout import FileDag, Leaf
from tasks.stores.protocol import AddedFile, FileStat, Profile
from tasks.stores.unixfs import PROFILES, Shape, leaf_digest


class MemoryStore:
    """Blocks in a dictionary. Files should be small: each is read whole."""

    def __init__(self, shapes: Mapping[Profile, Shape] = PROFILES) -> None:
        self._shapes = shapes
        self._blocks: dict[bytes, bytes] = {}
        self._additions: dict[str, AddedFile] = {}

    async def open(self) -> None:
        """Does nothing."""

    async def close(self) -> None:
        """Does nothing; the blocks stay until the store is let go."""

    async def check(self) -> None:
        """Always answers."""

    async def add_file(self, staged: Path, key: str, profile: Profile, on_progress: Callable[[int], None]) -> AddedFile:
        """See ContentStore."""
        return await asyncio.to_thread(self._add, staged, key, profile, on_progress)

    async def stat(self, cid: CID) -> FileStat:
        """See ContentStore."""
        return FileStat(cid, walk.size_of(cid, self._load))

    async def read_block(self, cid: CID) -> bytes:
        """See ContentStore."""
        return self._load(cid)

    def read_file(self, cid: CID, start: int, stop: int) -> AsyncIterator[bytes]:
        """See ContentStore."""
        return reading.stream(walk.pieces(cid, start, stop, self._load), asyncio.to_thread)

    def _add(self, staged: Path, key: str, profile: Profile, on_progress: Callable[[int], None]) -> AddedFile:
        if key not in self._additions:
            try:
                data = staged.read_bytes()
            except FileNotFoundError:
                raise StagedFileMissing(key) from None
            self._additions[key] = self._keep(data, self._shapes[profile])
            on_progress(len(data))
        staged.unlink(missing_ok=True)
        return self._additions[key]

    def _keep(self, data: bytes, shape: Shape) -> AddedFile:
        step = shape.chunk_size_bytes
        dag = FileDag(shape, len(data))
        digests = (leaf_digest(shape, data[at : at + step]) for at in range(0, max(1, len(data)), step))
        for part in dag.parts(digests):
            if isinstance(part, Leaf):
                block = part.prefix + data[part.offset : part.offset + part.length] + part.suffix
                self._blocks[part.multihash] = block
            else:
                self._blocks[part.multihash] = part.block
        return AddedFile(dag.root, len(data))

    def _load(self, cid: CID) -> bytes:
        if not multihash.is_supported(cid.multihash):
            raise UnsupportedCID(str(cid), "its hash function is not supported")
        block = multihash.inlined(cid.multihash)
        block = self._blocks.get(cid.multihash) if block is None else block
        if block is None:
            raise BlockNotFound(str(cid))
        return block
