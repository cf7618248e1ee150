"""Raw messages as Python reads them."""

from __future__ import annotations

import json
import re
from typing import Any

from kombu.utils.json import loads

TAG = re.compile(rb'"delivery_tag"\s*:\s*"([^"\\]+)"')
TAG_AT_END = re.compile(rb'"delivery_tag": ?"([A-Za-z0-9-]+)"}}$')
"""Where the claim looks first (`lua/message.lua`)."""

MOST_BYTES_AT_END = 80


class NoMessage(ValueError):
    """What was claimed is no message, or none that can be told by its tag."""


def decode(raw: bytes) -> tuple[dict[str, Any], str]:
    """The message, and the tag under which it is held. Raises NoMessage.

    kombu's decoder is slower than Python's, so only values of its own types are left to it.
    """
    try:
        text = raw.decode()
        message: dict[str, Any] = loads(text) if '"__type__"' in text else json.loads(text)
        tag: str = message["properties"]["delivery_tag"]
    except (ValueError, KeyError, TypeError) as error:
        raise NoMessage(f"{type(error).__name__}: {error}") from error
    if not raw.endswith(b'%s"}}' % tag.encode()) and TAG_AT_END.search(raw[-MOST_BYTES_AT_END:]):
        raise NoMessage("it has two tags")
    return message, tag


def tag_in(raw: bytes) -> str | None:
    """The tag under which something is held that can't be decoded."""
    found = TAG_AT_END.search(raw[-MOST_BYTES_AT_END:]) or TAG.search(raw)
    return found[1].decode() if found else None
