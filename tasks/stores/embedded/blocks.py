"""Gives blocks by CID, each verified against its hash. Blocks; call it in a thread."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from io import BufferedReader

from tasks.errors import BlockDamaged, BlockNotFound, UnsupportedCID
from tasks.stores import multihash
from tasks.stores.cid import CID, DAG_PB
from tasks.stores.embedded.folder import Folder
from tasks.stores.embedded.index import Index, Position


class Blocks:
    """The blocks that the folder and the index hold between them."""

    def __init__(self, folder: Folder, index: Index) -> None:
        self._folder = folder
        self._index = index

    def load(self, cid: CID) -> bytes | bytearray:
        """One block. Raises BlockNotFound, UnsupportedCID, or BlockDamaged when none of its copies is whole.

        StoreUnavailable when that is because the folder is gone.
        """
        if not multihash.is_supported(cid.multihash):
            raise UnsupportedCID(str(cid), "its hash function is not supported")
        if (inlined := multihash.inlined(cid.multihash)) is not None:
            return inlined
        known = False
        for block in self._copies(cid):
            if block is not None and multihash.matches(cid.multihash, block):
                return block
            known = True
        if known:
            self._folder.check()
        raise BlockDamaged(str(cid)) if known else BlockNotFound(str(cid))

    def _copies(self, cid: CID) -> Iterator[bytes | bytearray | None]:
        # Blocks are keyed by hash alone, so both places are asked; the codec only says which is likelier.
        if cid.codec == DAG_PB:
            yield from self._index.inner_blocks(cid.multihash)
        yield from map(self._leaf, self._index.positions(cid.multihash))
        if cid.codec != DAG_PB:
            yield from self._index.inner_blocks(cid.multihash)

    def _leaf(self, position: Position) -> bytes | bytearray | None:
        """The block at a position as it is now; None when it cannot be read."""
        try:
            with self._folder.open(position.key) as file:
                file.seek(position.offset)
                return _framed(file, position) if position.suffix else file.read(position.length)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.EIO):
                return None
            raise


def _framed(file: BufferedReader, position: Position) -> bytearray:
    # Read into place: putting a legacy leaf together from its parts would double the time that reading it takes.
    start = len(position.prefix)
    block = bytearray(start + position.length + len(position.suffix))
    view = memoryview(block)
    view[:start] = position.prefix
    file.readinto(view[start : start + position.length])
    view[start + position.length :] = position.suffix
    return block
