"""Byte ranges of HTTP (RFC 9110, section 14), as pure functions."""

from __future__ import annotations

import re

from service.errors import RangeNotSatisfiable

_SINGLE = re.compile(r"bytes=\s*(\d*)-(\d*)\s*")
MOST_DIGITS = 40
"""Longer numbers are nobody's position in a file, and not worth the work of reading them."""


def parse(header: str, size_bytes: int) -> tuple[int, int] | None:
    """The half-open range that a `Range` header asks for, or None when the whole is to be sent.

    A header that is malformed or asks for several ranges is ignored, as the RFC allows. Raises RangeNotSatisfiable when
    the range begins past the end.
    """
    found = _SINGLE.fullmatch(header)
    if found is None or found.groups() == ("", "") or max(map(len, found.groups())) > MOST_DIGITS:
        return None
    first, last = found.groups()
    if not first:
        start, stop = max(0, size_bytes - int(last)), size_bytes
    else:
        start, stop = int(first), min(size_bytes, int(last) + 1) if last else size_bytes
        if last and int(last) < start:
            return None
    if start >= size_bytes or start >= stop:
        raise RangeNotSatisfiable(size_bytes)
    return start, stop
