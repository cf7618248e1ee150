"""What an upload is called and of what type it is, decided from what its client said. Pure.

A name is data: no folder is made of it and no file is called by it.
"""

from __future__ import annotations

import mimetypes
import re
import unicodedata
from urllib.parse import unquote

from multipart import parse_options_header

from service.errors import BadUpload

DEFAULT_NAME = "upload.bin"
DEFAULT_TYPE = "application/octet-stream"
LONGEST_NAME = 255
LONGEST_TYPE = 255

MEANINGLESS_TYPES = {"", "application/x-www-form-urlencoded", DEFAULT_TYPE}
"""What clients send when nobody told them a type; the name says more."""

BREAKING_CATEGORIES = {"Cc", "Cs", "Zl", "Zp"}
"""Unicode's control characters, halves of surrogate pairs, and separators of lines and paragraphs."""

_MEDIA_TYPE = re.compile(r"[!-~]+/[!-~]+( *;[ -~]*)?")
_EXTENDED_NAME = re.compile(r";\s*filename\*\s*=\s*(utf-8|iso-8859-1)'[^']*'([^\s;]+)", re.IGNORECASE)


def checked_name(filename: str) -> str:
    """The name as it is. Raises BadUpload for one that could not be shown on a line."""
    if not filename or len(filename) > LONGEST_NAME:
        raise BadUpload(f"A file name has 1 to {LONGEST_NAME} characters.")
    if any(unicodedata.category(character) in BREAKING_CATEGORIES for character in filename):
        raise BadUpload("A file name has no control characters and no line breaks.")
    return filename


def name_in(disposition: str) -> str | None:
    """The name in a `Content-Disposition` header; `filename*` wins over `filename` (RFC 6266)."""
    if extended := _EXTENDED_NAME.search(disposition):
        charset, encoded = extended.groups()
        return unquote(encoded, encoding=charset)
    named: str | None = parse_options_header(_as_sent(disposition))[1].get("filename")
    return named


def type_of(said: str, filename: str) -> str:
    """The type that was said, if it says anything and can be said again in a header; else by the name."""
    if said.lower() in MEANINGLESS_TYPES or len(said) > LONGEST_TYPE or not _MEDIA_TYPE.fullmatch(said):
        return mimetypes.guess_type(filename, strict=False)[0] or DEFAULT_TYPE
    return said


def _as_sent(header: str) -> str:
    """A header's text where the client wrote UTF-8: servers read headers as Latin-1."""
    try:
        return header.encode("latin-1").decode()
    except UnicodeError:
        return header
