"""Raw messages as Python reads them."""

from __future__ import annotations

import json
import re
from typing import Any

from kombu.utils.json import loads

TAG = re.compile(rb'"delivery_tag"\s*:\s*"([^"\\]+)"')


def decode(raw: bytes) -> dict[str, Any]:
    """The message. Raises ValueError. kombu's decoder is slower, so it is left to values of its own types."""
    message: dict[str, Any] = loads(raw.decode()) if b'"__type__"' in raw else json.loads(raw)
    return message


def tag_in(raw: bytes) -> str | None:
    """The delivery tag of a message that can't be decoded."""
    found = TAG.search(raw)
    return found[1].decode() if found else None
