"""Takes secrets out of what is about to be written to a log: by the name of a key, and by their looks inside text.

Masking errs on the side of hiding: a log that hides a word too many is a nuisance, one that shows a key is an incident.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

from structlog.typing import EventDict, WrappedLogger

MASK = "***"
MAX_DEPTH = 6

_NAMES = r"(?:password|passwd|passphrase|secret|token|ticket|authorization|api[_-]?key)"
_SECRET_NAME = re.compile(rf"(?:{_NAMES}|cookie)$", re.IGNORECASE)
_GATEWAY_KEY = re.compile(r"ipfs_gw_[\w-]+")
# The second form lets a password hold a "/", which no valid URL does but a mistyped setting might.
_URL_CREDENTIALS = re.compile(r"://(?:[^\s/\"'<>]*@|[^\s/@:\"'<>]*:[^\s@\"'<>]*@)")
_BEARER = re.compile(r"\b(bearer +)[\w.~+/=-]+", re.IGNORECASE)
_ASSIGNED = re.compile(
    rf"({_NAMES}[\"']?\s*[:=]\s*)"
    r"(?:b?\"[^\"]*\"|b?'[^']*'|(?:bearer|basic)\s+[^\s\"',;]+|[^\s\"',;&)\]}]+)",
    re.IGNORECASE,
)
_HINT = re.compile(rf"{_NAMES}|bearer", re.IGNORECASE)


@lru_cache(maxsize=4096)
def is_secret(name: str) -> bool:
    """Whether the value under a key of this name must not be shown: `password`, `x-api-key`, `lease_token`…"""
    return _SECRET_NAME.search(name) is not None


def mask_text(text: str) -> str:
    """The text without gateway keys, credentials in URLs, bearer tokens and `password=…` or `"token": "…"` pairs."""
    if "ipfs_gw_" in text:
        text = _GATEWAY_KEY.sub(f"ipfs_gw_{MASK}", text)
    if "://" in text:
        text = _URL_CREDENTIALS.sub(f"://{MASK}@", text)
    # Most of what is logged is an id, a name or a path: nothing that the slow patterns could begin with.
    if ("=" in text or ":" in text or " " in text) and _HINT.search(text):
        text = _ASSIGNED.sub(rf"\g<1>{MASK}", text)
        text = _BEARER.sub(rf"\g<1>{MASK}", text)
    return text


def mask_value(value: object, depth: int = MAX_DEPTH) -> object:
    """The value as plain JSON types, masked. What is neither a collection nor a scalar becomes its masked text."""
    if isinstance(value, str):
        return mask_text(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if depth and isinstance(value, Mapping):
        return {
            (name := str(key)): (item and MASK) if is_secret(name) else mask_value(item, depth - 1)
            for key, item in value.items()
        }
    if depth and isinstance(value, list | tuple | set | frozenset):
        return [mask_value(item, depth - 1) for item in value]
    return mask_text(repr(value) if isinstance(value, BaseException) else str(value))


def mask_event(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Masks a whole log event; a structlog processor."""
    for key, value in event.items():
        if is_secret(key):
            event[key] = value and MASK
        elif type(value) is str:
            event[key] = mask_text(value)
        elif type(value) is not int:
            event[key] = mask_value(value)
    return event
