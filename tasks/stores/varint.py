"""Unsigned varints as multiformats and protobuf write them: seven bits a byte, lowest first, shortest form only.

Source: https://github.com/multiformats/unsigned-varint (at most nine bytes, so at most 63 bits).
"""

from __future__ import annotations

MAX_BYTES = 9


class MalformedVarint(ValueError):
    """Bytes that are not a varint: cut off, too long, or not in their shortest form."""


def encode(value: int) -> bytes:
    """The shortest form of a non-negative integer below 2**63."""
    if 0 <= value < 0x80:
        return bytes((value,))
    if not 0 <= value < 1 << 7 * MAX_BYTES:
        raise ValueError(f"{value} does not fit a varint")
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def decode(buffer: bytes | memoryview, offset: int) -> tuple[int, int]:
    """The integer that starts at `offset`, and the offset after it. Raises MalformedVarint."""
    value = 0
    for position in range(MAX_BYTES):
        try:
            byte = buffer[offset + position]
        except IndexError:
            raise MalformedVarint("a number is cut off") from None
        value |= (byte & 0x7F) << 7 * position
        if byte < 0x80:
            if byte == 0 and position > 0:
                raise MalformedVarint("a number is not in its shortest form")
            return value, offset + position + 1
    raise MalformedVarint("a number is longer than nine bytes")
