"""Finds the one file in a `multipart/form-data` body while it streams by. Form fields beside it are passed over."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
from multipart import (
    MultipartError,
    MultipartSegment,
    ParserLimitReached,
    PushMultipartParser,
    parse_options_header,
)

from service.errors import BadUpload

MOST_PARTS = 32
MOST_OTHER_BYTES = 1024 * 1024
"""Most of a body that may not be the file's: form fields, heads of parts, what stands around them."""


class FilePart(msgspec.Struct):
    """What the file's part said of itself; filled in once its head has gone by."""

    filename: str = ""
    content_type: str = ""
    seen: bool = False


def boundary_of(content_type: str) -> str:
    """The boundary in a Content-Type. Raises BadUpload without one."""
    _, options = parse_options_header(content_type)
    if not options.get("boundary"):
        raise BadUpload("The multipart body has no boundary in its Content-Type; let your client set that header.")
    return str(options["boundary"])


async def file_pieces(body: AsyncIterator[bytes], boundary: str, part: FilePart) -> AsyncIterator[bytes]:
    """The file's bytes; `part` is filled in before the first of them.

    Raises BadUpload when the body is malformed, cut off, or holds no file, more than one, or too much beside it.
    """
    parser = PushMultipartParser(boundary, max_segment_count=MOST_PARTS)
    in_file, other_bytes = False, 0
    try:
        async for piece in body:
            other_bytes += len(piece)
            for event in parser.parse(piece):
                if isinstance(event, MultipartSegment):
                    in_file = _begins_file(event, part)
                elif event and in_file:
                    other_bytes -= len(event)
                    yield bytes(event)
            if other_bytes > MOST_OTHER_BYTES:
                raise BadUpload(f"The multipart body holds more than {MOST_OTHER_BYTES} bytes beside its file.")
        parser.close()
    except MultipartError as error:
        raise BadUpload(f"The multipart body cannot be read: {_reason(error)}.") from error
    if not part.seen:
        raise BadUpload('The multipart body holds no file; send one with `curl -F "file=@name"`.')


def _reason(error: MultipartError) -> str:
    """In words of our own: the parser's can hold pieces of the body, and of Python."""
    if isinstance(error, ParserLimitReached):
        return f"it has more than {MOST_PARTS} parts, or a part whose head is too long"
    return "it is malformed or was cut off; let your client build the form"


def _begins_file(segment: MultipartSegment, part: FilePart) -> bool:
    if not segment.filename:  # a field; or, with an empty name, a form's file input in which nothing was chosen
        return False
    if part.seen:
        raise BadUpload("The multipart body holds more than one file; send one file a request.")
    part.seen, part.filename = True, segment.filename
    part.content_type = segment.header("Content-Type", "")
    return True
