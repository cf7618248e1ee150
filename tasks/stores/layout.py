"""The balanced DAG of a file, part by part, as Kubo lays it out. Inner nodes come out as they fill.

Memory is one unfinished node a level, so a few hundred KiB for any size. Pure: no I/O.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from tasks.stores import multihash
from tasks.stores.cid import CID
from tasks.stores.unixfs import Child, Shape, encode_node, leaf_frame


class Leaf(NamedTuple):
    """A block that is `prefix`, then `length` bytes of the file from `offset`, then `suffix`."""

    multihash: bytes
    offset: int
    length: int
    prefix: bytes
    suffix: bytes


class Inner(NamedTuple):
    """A block that is made, not found in the file."""

    multihash: bytes
    block: bytes


class FileDag:
    """The DAG of one file of `size_bytes`, from the SHA-256 digests of its leaves."""

    def __init__(self, shape: Shape, size_bytes: int) -> None:
        self._shape = shape
        self._size_bytes = size_bytes
        self._levels: list[list[Child]] = [[]]
        self._root: CID | None = None

    @property
    def root(self) -> CID:
        """The file's CID; known when `parts` has been read to its end."""
        assert self._root is not None, "the DAG is not finished"
        return self._root

    def parts(self, digests: Iterable[bytes]) -> Iterator[Leaf | Inner]:
        """Every block, children before their parents; `digests` are those of the leaves, in the order of the file."""
        offset = 0
        for digest in digests:
            leaf = self._leaf(digest, offset)
            yield leaf
            cid = self._shape.leaf_cid(leaf.multihash)
            block_bytes = len(leaf.prefix) + leaf.length + len(leaf.suffix)
            yield from self._hang(cid, Child(cid.to_bytes(), leaf.length, block_bytes), level=0)
            offset += leaf.length
        assert offset == self._size_bytes, "a digest for every leaf"
        yield from self._finish()

    def _leaf(self, digest: bytes, offset: int) -> Leaf:
        length = min(self._shape.chunk_size_bytes, self._size_bytes - offset)
        return Leaf(multihash.sha2_256(digest), offset, length, *leaf_frame(self._shape, length))

    def _hang(self, cid: CID, child: Child, level: int) -> Iterator[Inner]:
        if level == len(self._levels):
            self._levels.append([])
        self._levels[level].append(child)
        self._root = cid  # the last one to be hung is at the top, whenever the file ends
        if len(self._levels[level]) == self._shape.links_per_node:
            yield from self._close(level)

    def _close(self, level: int) -> Iterator[Inner]:
        children, self._levels[level] = self._levels[level], []
        block = encode_node(children)
        inner = Inner(multihash.sha2_256(hashlib.sha256(block).digest()), block)
        yield inner
        cid = self._shape.node_cid(inner.multihash)
        size_bytes = sum(child.size_bytes for child in children)
        total_bytes = len(block) + sum(child.total_bytes for child in children)
        yield from self._hang(cid, Child(cid.to_bytes(), size_bytes, total_bytes), level + 1)

    def _finish(self) -> Iterator[Inner]:
        level = 0
        while level + 1 < len(self._levels) or len(self._levels[level]) > 1:
            if self._levels[level]:
                yield from self._close(level)
            level += 1
