"""Reads byte ranges of files out of blocks, trusting nothing that the blocks say about each other.

Works on any UnixFS file (balanced, trickle, with or without raw leaves). Pure but for the `load` it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from tasks.errors import UnsupportedCID
from tasks.stores import unixfs
from tasks.stores.cid import CID
from tasks.stores.dag_pb import Link
from tasks.stores.protobuf import MalformedMessage

Load = Callable[[CID], bytes | bytearray]
"""Gives a verified block, or raises BlockNotFound, BlockDamaged or UnsupportedCID."""

MAX_DEPTH = 64
"""Far above what any importer makes (a terabyte takes 3), far below what could hurt."""

PIECE_BYTES = 1 << 20
_BLOCKS_A_PIECE = 256
"""Bounds the work before a piece comes out of a file that somebody cut into single bytes."""


class _Visit(NamedTuple):
    cid: CID
    offset: int
    depth: int
    expected_bytes: int | None


def size_of(root: CID, load: Load) -> int:
    """Bytes of the file at `root`, by its root block alone."""
    return _part(root, load).size_bytes


def pieces(root: CID, start: int, stop: int, load: Load) -> Iterator[bytes]:
    """The bytes [start, stop) of the file at `root` in pieces of about 1 MiB. Past its end there are none."""
    gathered: list[memoryview] = []
    gathered_bytes = 0
    for view in slices(root, start, stop, load):
        gathered.append(view)
        gathered_bytes += len(view)
        if gathered_bytes >= PIECE_BYTES or len(gathered) >= _BLOCKS_A_PIECE:
            yield _join(gathered)
            gathered, gathered_bytes = [], 0
    if gathered:
        yield _join(gathered)


def slices(root: CID, start: int, stop: int, load: Load) -> Iterator[memoryview]:
    """The same, block by block. Loads only blocks that overlap the range, and the nodes above them."""
    pending = [_Visit(root, 0, 0, None)]
    while pending:
        visit = pending.pop()
        part = _part(visit.cid, load)
        if visit.expected_bytes not in (None, part.size_bytes):
            reason = f"its block has {part.size_bytes} bytes where its parent says {visit.expected_bytes}"
            raise UnsupportedCID(str(visit.cid), reason)
        view = part.data[max(0, start - visit.offset) : max(0, stop - visit.offset)]
        if view:
            yield view
        pending.extend(reversed(_children(visit, part, start, stop)))


def _children(visit: _Visit, part: unixfs.FilePart, start: int, stop: int) -> list[_Visit]:
    if part.links and visit.depth >= MAX_DEPTH:
        raise UnsupportedCID(str(visit.cid), f"it lies deeper than {MAX_DEPTH} nodes")
    children: list[_Visit] = []
    offset = visit.offset + len(part.data)
    for link, size_bytes in zip(part.links, part.sizes, strict=True):
        # An empty child never overlaps, so a node cannot make us load blocks that give nothing.
        if max(offset, start) < min(offset + size_bytes, stop):
            children.append(_Visit(_target(visit.cid, link), offset, visit.depth + 1, size_bytes))
        offset += size_bytes
    return children


def _target(parent: CID, link: Link) -> CID:
    try:
        return link.cid
    except MalformedMessage as error:
        raise UnsupportedCID(str(parent), f"its block is malformed: {error}") from None


def _part(cid: CID, load: Load) -> unixfs.FilePart:
    if cid.codec not in unixfs.FILE_CODECS:
        raise UnsupportedCID(str(cid), f"its codec 0x{cid.codec:x} is not one that files are made of")
    try:
        return unixfs.decode(cid, load(cid))
    except unixfs.NotAFile as error:
        raise UnsupportedCID(str(cid), str(error)) from None


def _join(views: list[memoryview]) -> bytes:
    whole = views[0].obj
    if len(views) == 1 and isinstance(whole, bytes) and len(whole) == len(views[0]):
        return whole  # a raw leaf that is wanted whole is given as it was read
    return b"".join(views)
