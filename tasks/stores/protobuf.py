"""The little of protobuf's wire format that dag-pb and UnixFS need: fields in, fields out."""

from __future__ import annotations

from collections.abc import Iterator

from tasks.stores import varint

VARINT = 0
BYTES = 2
_FIXED_BYTES = {1: 8, 5: 4}


class MalformedMessage(ValueError):
    """Bytes that are not the protobuf message they should be."""


def varint_field(number: int, value: int) -> bytes:
    """A field that holds an integer."""
    return bytes((number << 3 | VARINT,)) + varint.encode(value)


def bytes_header(number: int, length: int) -> bytes:
    """What stands before the `length` bytes of a field that holds bytes, text or a message."""
    return bytes((number << 3 | BYTES,)) + varint.encode(length)


def bytes_field(number: int, value: bytes) -> bytes:
    """A field that holds bytes, text or a message."""
    return bytes_header(number, len(value)) + value


def fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Every field in order as (number, value): integers as int, bytes as a view. Fixed-width ones are passed over.

    Raises MalformedMessage.
    """
    offset, end = 0, len(message)
    while offset < end:
        tag, offset = _decode(message, offset)
        number, wire_type = tag >> 3, tag & 7
        if wire_type == VARINT:
            integer, offset = _decode(message, offset)
            yield number, integer
        elif wire_type == BYTES:
            length, start = _decode(message, offset)
            offset = start + length
            if offset > end:
                raise MalformedMessage(f"field {number} is cut off")
            yield number, message[start:offset]
        elif wire_type in _FIXED_BYTES:
            offset += _FIXED_BYTES[wire_type]
        else:
            raise MalformedMessage(f"field {number} has the unknown wire type {wire_type}")
    if offset != end:
        raise MalformedMessage("the last field is cut off")


def packed_varints(value: memoryview) -> Iterator[int]:
    """The integers of a packed repeated field. Raises MalformedMessage."""
    offset = 0
    while offset < len(value):
        integer, offset = _decode(value, offset)
        yield integer


def _decode(message: memoryview, offset: int) -> tuple[int, int]:
    try:
        return varint.decode(message, offset)
    except varint.MalformedVarint as error:
        raise MalformedMessage(str(error)) from None
