"""Whether two files hold the same bytes: a cheap fingerprint to find candidates, and the comparison that decides.

Only a comparison of all bytes may let a new copy go: the older one could be damaged.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable

from tasks.stores.embedded.index import Likeness

_SAMPLE_BYTES = 64 << 10
_PIECE_BYTES = 1 << 20


def likeness(descriptor: int) -> Likeness:
    """The size, and a digest of both ends."""
    size_bytes = os.fstat(descriptor).st_size
    head = os.pread(descriptor, _SAMPLE_BYTES, 0)
    tail = os.pread(descriptor, _SAMPLE_BYTES, max(0, size_bytes - _SAMPLE_BYTES))
    return Likeness(hashlib.sha256(head + tail).digest(), size_bytes)


def same_bytes(one: int, other: int, on_piece: Callable[[], None]) -> bool:
    """Compares two open files to their ends. `on_piece` is called between pieces, and may raise to stop."""
    offset = 0
    while True:
        on_piece()
        piece = os.pread(one, _PIECE_BYTES, offset)
        if piece != os.pread(other, _PIECE_BYTES, offset):
            return False
        if not piece:
            return True
        offset += len(piece)
