"""Multihashes: which hash function a block is named by, and whether bytes are the block they claim to be.

Source: https://github.com/multiformats/multihash
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from tasks.stores import varint

SHA2_256_PREFIX = b"\x12\x20"
"""What stands before the 32 bytes of a SHA-256 digest."""

MAX_DIGEST_BYTES = 128
"""Kubo's own limit; only inlined data (the identity "hash") comes near it."""

_FUNCTIONS: dict[int, Callable[[bytes | bytearray], bytes]] = {
    0x00: bytes,
    0x12: lambda data: hashlib.sha256(data).digest(),
    0x13: lambda data: hashlib.sha512(data).digest(),
    0xB220: lambda data: hashlib.blake2b(data, digest_size=32).digest(),
}
_IDENTITY = 0x00


def split(multihash: bytes) -> tuple[int, bytes]:
    """The code of the hash function, and the digest. Raises ValueError with the reason when it is malformed."""
    code, offset = varint.decode(multihash, 0)
    length, offset = varint.decode(multihash, offset)
    if length > MAX_DIGEST_BYTES:
        raise ValueError(f"its digest of {length} bytes is longer than {MAX_DIGEST_BYTES}")
    if len(multihash) - offset != length:
        raise ValueError(f"its digest has {len(multihash) - offset} bytes instead of {length}")
    return code, multihash[offset:]


def sha2_256(digest: bytes) -> bytes:
    """The multihash of a SHA-256 digest."""
    return SHA2_256_PREFIX + digest


def inlined(multihash: bytes) -> bytes | None:
    """The block itself when the multihash carries it (identity), else None."""
    code, digest = split(multihash)
    return digest if code == _IDENTITY else None


def is_supported(multihash: bytes) -> bool:
    """Whether `matches` can judge this hash function."""
    return multihash.startswith(SHA2_256_PREFIX) or split(multihash)[0] in _FUNCTIONS


def matches(multihash: bytes, data: bytes | bytearray) -> bool:
    """Whether `data` is the block that `multihash` names; its function must be a supported one."""
    code, digest = split(multihash)
    return _FUNCTIONS[code](data) == digest
