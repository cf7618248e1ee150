"""The CID of a small file, worked out by hand and not by the code under test."""

from __future__ import annotations

import base64
import hashlib

LEAF_BYTES = 1 << 20


def leaf_cid(data: bytes) -> str:
    """The CID of a file that is one raw leaf, as every file of up to a chunk is in `unixfs-v1-2025`."""
    assert len(data) <= LEAF_BYTES
    binary = b"\x01\x55\x12\x20" + hashlib.sha256(data).digest()
    return "b" + base64.b32encode(binary).decode().lower().rstrip("=")
