"""dag-pb, the block format of UnixFS: links first, then data.

Source: https://ipld.io/specs/codecs/dag-pb/spec/. Decoding is strict about what a node may hold; it also takes the old
order, data before links, which the specification tells readers to take.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from tasks.errors import InvalidCID
from tasks.stores.cid import CID
from tasks.stores.protobuf import MalformedMessage, bytes_field, fields, varint_field

_NODE_DATA, _NODE_LINKS = 1, 2
_LINK_HASH, _LINK_NAME, _LINK_TSIZE = 1, 2, 3


class Link(NamedTuple):
    """A link as it stands in a node. `target` is a binary CID, parsed when somebody follows it."""

    target: bytes
    name: str
    total_bytes: int
    """Bytes of all blocks below and including the target (Tsize); a hint, never trusted."""

    @property
    def cid(self) -> CID:
        """The CID it points to. Raises MalformedMessage."""
        try:
            return CID.from_bytes(self.target)
        except InvalidCID as error:
            raise MalformedMessage(f"a link is {error}") from None


class Node(NamedTuple):
    """A decoded block: its links and its data, which is None when the field is absent."""

    links: list[Link]
    data: memoryview | None


def encode(links: Iterable[Link], data: bytes) -> bytes:
    """The canonical block."""
    parts = [bytes_field(_NODE_LINKS, _encode_link(link)) for link in links]
    return b"".join((*parts, bytes_field(_NODE_DATA, data)))


def decode(block: bytes | bytearray) -> Node:
    """The node in `block`, whose data is a view of it. Raises MalformedMessage."""
    links: list[Link] = []
    data: memoryview | None = None
    links_ended = False
    for number, value in fields(memoryview(block)):
        if isinstance(value, int) or number not in (_NODE_DATA, _NODE_LINKS):
            raise MalformedMessage(f"a node has no field {number} of this type")
        if number == _NODE_LINKS:
            if links_ended:
                raise MalformedMessage("a node's links are not together")
            links.append(_decode_link(value))
        elif data is not None:
            raise MalformedMessage("a node has its data twice")
        else:
            data, links_ended = value, bool(links)
    return Node(links, data)


def _encode_link(link: Link) -> bytes:
    return (
        bytes_field(_LINK_HASH, link.target)
        + bytes_field(_LINK_NAME, link.name.encode())
        + varint_field(_LINK_TSIZE, link.total_bytes)
    )


def _decode_link(message: memoryview) -> Link:
    target, name, total_bytes, last = b"", "", 0, 0
    for number, value in fields(message):
        if number <= last:
            raise MalformedMessage("a link's fields are out of order")
        last = number
        if number == _LINK_HASH and isinstance(value, memoryview):
            target = bytes(value)
        elif number == _LINK_NAME and isinstance(value, memoryview):
            name = _text(value)
        elif number == _LINK_TSIZE and isinstance(value, int):
            total_bytes = value
        else:
            raise MalformedMessage(f"a link has no field {number} of this type")
    if not target:
        raise MalformedMessage("a link has no target")
    return Link(target, name, total_bytes)


def _text(value: memoryview) -> str:
    try:
        return str(value, "utf-8")
    except UnicodeDecodeError:
        raise MalformedMessage("a link's name is not UTF-8") from None
