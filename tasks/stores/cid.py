"""Content identifiers: text and bytes in, canonical text out. Any codec and any hash function is accepted.

Source: https://github.com/multiformats/cid
"""

from __future__ import annotations

from typing import Final

from tasks.errors import InvalidCID
from tasks.stores import multibase, multihash, varint

RAW: Final = 0x55
DAG_PB: Final = 0x70

MAX_TEXT_LENGTH = 512
"""Longer text is refused unread. The longest CID within the limits of its parts takes 300 characters."""

_V0_BYTES = 34
_V0_CHARACTERS = 46


class CID:
    """One content identifier: immutable, hashable, equal only to the same version, codec and multihash.

    The constructor trusts its arguments; `parse` and `from_bytes` are for what comes from outside. `str(cid)` is the
    canonical text: `Qm…` for version 0, base32 in lower case for version 1.
    """

    __slots__ = ("codec", "multihash", "version")

    version: int
    codec: int
    multihash: bytes

    def __init__(self, version: int, codec: int, multihash: bytes) -> None:
        object.__setattr__(self, "version", version)
        object.__setattr__(self, "codec", codec)
        object.__setattr__(self, "multihash", multihash)

    @classmethod
    def parse(cls, text: str) -> CID:
        """The CID that `text` writes in any usual base. Raises InvalidCID with what is wrong."""
        if not text:
            raise InvalidCID(text, "it is empty")
        if len(text) > MAX_TEXT_LENGTH:
            raise InvalidCID(text, f"it is longer than {MAX_TEXT_LENGTH} characters")
        if text.startswith(("/", "ipfs:", "ipns:", "http:", "https:")):
            raise InvalidCID(text, "it is a path or an address; give the CID alone")
        try:
            if text.startswith("Qm"):
                return _version_0(multibase.decode_base58btc(text), text)
            return _version_1(multibase.decode(text))
        except ValueError as error:
            raise InvalidCID(text, str(error)) from None

    @classmethod
    def from_bytes(cls, data: bytes) -> CID:
        """The CID in its binary form, with nothing after it. Raises InvalidCID with what is wrong."""
        try:
            if len(data) == _V0_BYTES and data.startswith(multihash.SHA2_256_PREFIX):
                return cls(0, DAG_PB, bytes(data))
            return _version_1(data)
        except ValueError as error:
            raise InvalidCID(data.hex(), str(error)) from None

    def to_bytes(self) -> bytes:
        """The binary form that links and CARs hold."""
        if self.version == 0:
            return self.multihash
        return b"\x01" + varint.encode(self.codec) + self.multihash

    def __str__(self) -> str:
        if self.version == 0:
            return multibase.encode_base58btc(self.multihash)
        return "b" + multibase.encode_base32(self.to_bytes())

    def __repr__(self) -> str:
        return f"CID({self!s})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CID):
            return NotImplemented
        return (self.multihash, self.codec, self.version) == (other.multihash, other.codec, other.version)

    def __hash__(self) -> int:
        return hash((self.multihash, self.codec, self.version))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a CID cannot be changed: {name}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a CID cannot be changed: {name}")

    def __reduce__(self) -> tuple[type[CID], tuple[int, int, bytes]]:
        return CID, (self.version, self.codec, self.multihash)


def _version_0(data: bytes, text: str) -> CID:
    if len(text) != _V0_CHARACTERS:
        raise ValueError(f"it starts with Qm and has {len(text)} characters instead of {_V0_CHARACTERS}")
    if len(data) != _V0_BYTES or not data.startswith(multihash.SHA2_256_PREFIX):
        raise ValueError("it starts with Qm but holds no SHA-256 digest")
    return CID(0, DAG_PB, data)


def _version_1(data: bytes) -> CID:
    version, offset = varint.decode(data, 0)
    if version == multihash.SHA2_256_PREFIX[0]:
        raise ValueError("a version 0 CID is written as Qm…, without a base")
    if version != 1:
        raise ValueError(f"its version is {version}, and only 0 and 1 exist")
    codec, offset = varint.decode(data, offset)
    name = bytes(data[offset:])
    multihash.split(name)
    return CID(1, codec, name)
