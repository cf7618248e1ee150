"""UnixFS files: the import profiles of IPIP-499, how a leaf frames its bytes, and what a block says about a file.

Sources: https://specs.ipfs.tech/unixfs/ and https://specs.ipfs.tech/ipips/ipip-0499/. Pure: no I/O.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from tasks.stores import dag_pb
from tasks.stores.cid import CID, DAG_PB, RAW
from tasks.stores.protobuf import MalformedMessage, bytes_header, fields, packed_varints, varint_field
from tasks.stores.protocol import Profile

FILE_CODECS = (RAW, DAG_PB)
"""Codecs of blocks that files are made of."""

_TYPE, _DATA, _FILE_SIZE, _BLOCK_SIZES = 1, 2, 3, 4
_NODE_DATA = 1
_TYPE_RAW, _TYPE_FILE = 0, 2
_OTHER_TYPES = {1: "a directory", 3: "metadata", 4: "a symbolic link", 5: "a sharded directory"}


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """What a profile fixes for files."""

    chunk_size_bytes: int
    links_per_node: int
    raw_leaves: bool
    cid_version: int

    def leaf_cid(self, multihash: bytes) -> CID:
        """The CID of a leaf."""
        return CID(self.cid_version, RAW if self.raw_leaves else DAG_PB, multihash)

    def node_cid(self, multihash: bytes) -> CID:
        """The CID of an inner node."""
        return CID(self.cid_version, DAG_PB, multihash)


PROFILES: Mapping[Profile, Shape] = MappingProxyType(
    {
        "unixfs-v1-2025": Shape(chunk_size_bytes=1 << 20, links_per_node=1024, raw_leaves=True, cid_version=1),
        "unixfs-v0-2015": Shape(chunk_size_bytes=256 << 10, links_per_node=174, raw_leaves=False, cid_version=0),
    }
)


class Frame(NamedTuple):
    """What a leaf's block holds around its slice of the file: block = prefix + slice + suffix."""

    prefix: bytes
    suffix: bytes


@lru_cache(maxsize=256)  # a file has leaves of two sizes at most
def leaf_frame(shape: Shape, size_bytes: int) -> Frame:
    """The frame of a leaf of `size_bytes`: nothing for raw leaves, a few bytes for legacy ones."""
    if shape.raw_leaves:
        return Frame(b"", b"")
    # Kubo leaves the data field out of an empty file.
    before = varint_field(_TYPE, _TYPE_FILE) + (bytes_header(_DATA, size_bytes) if size_bytes else b"")
    after = varint_field(_FILE_SIZE, size_bytes)
    return Frame(bytes_header(_NODE_DATA, len(before) + size_bytes + len(after)) + before, after)


def leaf_digest(shape: Shape, data: bytes | memoryview) -> bytes:
    """SHA-256 of the leaf that holds `data`, without putting the leaf together."""
    frame = leaf_frame(shape, len(data))
    digest = hashlib.sha256(frame.prefix)
    digest.update(data)
    digest.update(frame.suffix)
    return digest.digest()


class Child(NamedTuple):
    """A part of a file as its parent sees it."""

    target: bytes
    """Binary CID."""
    size_bytes: int
    """Bytes of the file below it."""
    total_bytes: int
    """Bytes of its blocks, its own included."""


def encode_node(children: list[Child]) -> bytes:
    """The block of an inner node."""
    size_bytes = sum(child.size_bytes for child in children)
    data = varint_field(_TYPE, _TYPE_FILE) + varint_field(_FILE_SIZE, size_bytes)
    data += b"".join(varint_field(_BLOCK_SIZES, child.size_bytes) for child in children)
    return dag_pb.encode((dag_pb.Link(child.target, "", child.total_bytes) for child in children), data)


class NotAFile(ValueError):
    """A block that is well-formed, perhaps, but no part of a file. The sentence says what it is."""


class FilePart(NamedTuple):
    """What one block gives to a file: bytes of its own, then its links' with their sizes."""

    size_bytes: int
    data: memoryview
    links: list[dag_pb.Link]
    sizes: list[int]


def decode(cid: CID, block: bytes | bytearray) -> FilePart:
    """Reads a block of one of FILE_CODECS as a part of a file. Raises NotAFile when it isn't, or contradicts itself."""
    if cid.codec == RAW:
        return FilePart(len(block), memoryview(block), [], [])
    try:
        node = dag_pb.decode(block)
        return _file_part(node.links, node.data)
    except MalformedMessage as error:
        raise NotAFile(f"its block is malformed: {error}") from None


def _file_part(links: list[dag_pb.Link], message: memoryview | None) -> FilePart:
    if message is None:
        raise NotAFile("its block is dag-pb without UnixFS")
    kind, data, size_bytes, sizes = -1, memoryview(b""), None, list[int]()
    for number, value in fields(message):
        if number == _TYPE and isinstance(value, int):
            kind = value
        elif number == _DATA and isinstance(value, memoryview):
            data = value
        elif number == _FILE_SIZE and isinstance(value, int):
            size_bytes = value
        elif number == _BLOCK_SIZES:
            sizes.extend(_block_sizes(value))
    if kind not in (_TYPE_RAW, _TYPE_FILE):
        raise NotAFile(f"it is {_OTHER_TYPES.get(kind, 'of an unknown UnixFS type')}, not a file")
    if len(sizes) != len(links):
        raise NotAFile(f"its block has {len(links)} links and {len(sizes)} sizes")
    actual_bytes = len(data) + sum(sizes)
    if size_bytes not in (None, actual_bytes):
        raise NotAFile(f"its block says {size_bytes} bytes where its parts have {actual_bytes}")
    return FilePart(actual_bytes, data, links, sizes)


def _block_sizes(value: int | memoryview) -> Iterable[int]:
    return (value,) if isinstance(value, int) else packed_varints(value)
