"""Files are read out of blocks that may lie: about their sizes, their links and their depth."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import pytest

from tasks.errors import BlockNotFound, UnsupportedCID
from tasks.stores import dag_pb, walk
from tasks.stores.cid import CID, DAG_PB, RAW
from tasks.stores.multihash import sha2_256
from tasks.stores.protobuf import bytes_field, varint_field
from tasks.stores.unixfs import Child, encode_node


class Shelf(dict[CID, bytes]):
    """Blocks made by hand, and which of them were asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[CID] = []

    def put(self, block: bytes, codec: int = DAG_PB) -> CID:
        cid = CID(1, codec, sha2_256(hashlib.sha256(block).digest()))
        self[cid] = block
        return cid

    def node(self, children: Iterable[tuple[CID, int]]) -> CID:
        return self.put(encode_node([Child(cid.to_bytes(), size, 0) for cid, size in children]))

    def load(self, cid: CID) -> bytes:
        self.loaded.append(cid)
        try:
            return self[cid]
        except KeyError:
            raise BlockNotFound(str(cid)) from None

    def read(self, root: CID, start: int = 0, stop: int = 1 << 62) -> bytes:
        return b"".join(walk.pieces(root, start, stop, self.load))


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


def test_only_blocks_that_overlap_the_range_are_loaded(shelf: Shelf) -> None:
    leaves = [shelf.put(bytes([number]) * 10, RAW) for number in range(6)]
    left, right = (shelf.node((leaf, 10) for leaf in half) for half in (leaves[:3], leaves[3:]))
    root = shelf.node([(left, 30), (right, 30)])
    assert shelf.read(root, 35, 45) == b"\x03" * 5 + b"\x04" * 5
    assert shelf.loaded == [root, right, leaves[3], leaves[4]]


def test_a_node_may_have_data_of_its_own_before_its_links(shelf: Shelf) -> None:
    leaf = shelf.put(b"world", RAW)
    data = varint_field(1, 2) + bytes_field(2, b"hello ") + varint_field(3, 11) + varint_field(4, 5)
    root = shelf.put(dag_pb.encode([dag_pb.Link(leaf.to_bytes(), "", 5)], data))
    assert shelf.read(root) == b"hello world"
    assert shelf.read(root, 4, 8) == b"o wo"
    assert walk.size_of(root, shelf.load) == 11


def test_packed_sizes_and_data_before_links_are_read_too(shelf: Shelf) -> None:
    leaf = shelf.put(b"abc", RAW)
    data = varint_field(1, 2) + varint_field(3, 6) + bytes_field(4, b"\x03\x03")
    link = bytes_field(2, bytes_field(1, leaf.to_bytes()))
    root = shelf.put(bytes_field(1, data) + link + link)
    assert shelf.read(root) == b"abcabc"


def test_a_deep_chain_ends_with_an_error_not_with_the_stack(shelf: Shelf) -> None:
    cid = shelf.put(b"x", RAW)
    for _ in range(walk.MAX_DEPTH):
        cid = shelf.node([(cid, 1)])
    assert shelf.read(cid) == b"x"
    with pytest.raises(UnsupportedCID, match="deeper than 64"):
        shelf.read(shelf.node([(cid, 1)]))


def test_empty_children_are_not_followed(shelf: Shelf) -> None:
    empty = shelf.put(b"", RAW)
    root = shelf.node([(empty, 0)] * 1000 + [(shelf.put(b"x", RAW), 1)])
    assert shelf.read(root) == b"x"
    assert empty not in shelf.loaded


def test_a_huge_file_of_one_block_gives_its_pieces_one_by_one(shelf: Shelf) -> None:
    cid, size = shelf.put(bytes(1 << 20), RAW), 1 << 20
    for _ in range(4):
        cid, size = shelf.node([(cid, size)] * 1000), size * 1000
    pieces = walk.pieces(cid, 0, size, shelf.load)
    assert len(next(pieces)) == 1 << 20
    assert shelf.read(cid, size - 5, size) == bytes(5)
    assert len(shelf.loaded) < 20


def test_a_file_cut_into_single_bytes_still_comes_in_small_steps(shelf: Shelf) -> None:
    leaf = shelf.put(b"x", RAW)
    root = shelf.node([(leaf, 1)] * 5000)
    first = next(walk.pieces(root, 0, 5000, shelf.load))
    assert len(shelf.loaded) < 300
    assert shelf.read(root) == b"x" * 5000
    assert first == b"x" * len(first)


def test_a_child_of_another_size_than_its_parent_says_is_refused(shelf: Shelf) -> None:
    with pytest.raises(UnsupportedCID, match="3 bytes where its parent says 4"):
        shelf.read(shelf.node([(shelf.put(b"abc", RAW), 4)]))


def test_a_missing_child_is_told_by_its_own_cid(shelf: Shelf) -> None:
    leaf = shelf.put(b"abc", RAW)
    root = shelf.node([(leaf, 3)])
    del shelf[leaf]
    with pytest.raises(BlockNotFound) as caught:
        shelf.read(root)
    assert caught.value.cid == str(leaf)


UNIXFS_FILE = varint_field(1, 2)
LINK = bytes_field(2, bytes_field(1, CID(1, RAW, b"\x00\x00").to_bytes()))


@pytest.mark.parametrize(
    ("block", "reason"),
    [
        (bytes_field(1, varint_field(1, 1)), "a directory"),
        (bytes_field(1, varint_field(1, 5)), "a sharded directory"),
        (bytes_field(1, varint_field(1, 4)), "a symbolic link"),
        (bytes_field(1, varint_field(1, 9)), "unknown UnixFS type"),
        (bytes_field(1, b""), "unknown UnixFS type"),
        (b"", "without UnixFS"),
        (b"\xff", "cut off"),
        (b"\x0a\x05ab", "cut off"),
        (b"\x0f", "wire type 7"),
        (varint_field(1, 2), "no field 1 of this type"),
        (bytes_field(3, b""), "no field 3"),
        (bytes_field(1, UNIXFS_FILE) * 2, "data twice"),
        (LINK + bytes_field(1, UNIXFS_FILE) + LINK, "not together"),
        (bytes_field(2, b"") + bytes_field(1, UNIXFS_FILE), "no target"),
        (bytes_field(2, varint_field(3, 1) + bytes_field(1, b"x")), "out of order"),
        (bytes_field(2, bytes_field(1, b"x") + bytes_field(2, b"\xff")), "not UTF-8"),
        (LINK + bytes_field(1, UNIXFS_FILE), "1 links and 0 sizes"),
        (bytes_field(1, UNIXFS_FILE + varint_field(3, 5)), "says 5 bytes where its parts have 0"),
        (bytes_field(2, bytes_field(1, b"junk")) + bytes_field(1, UNIXFS_FILE + varint_field(4, 1)), "not a CID"),
    ],
)
def test_a_block_that_is_no_file_is_told_with_the_reason(shelf: Shelf, block: bytes, reason: str) -> None:
    with pytest.raises(UnsupportedCID, match=reason):
        shelf.read(shelf.put(block))
