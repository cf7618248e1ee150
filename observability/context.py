"""The few words that travel with a piece of work, from the HTTP request through the message into each log line.

Only the names listed here travel. A message is read by other processes, perhaps of another version, and whatever else a
request happens to have bound to its log context is nobody's business there.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any

from structlog.contextvars import bind_contextvars, clear_contextvars, get_contextvars

TRAVELLING = ("request_id", "traceparent", "owner_id")
CONTEXT_HEADER = "moorage_context"
ENQUEUED_HEADER = "enqueued_at"
MAX_VALUE_LENGTH = 256


def capture() -> dict[str, str]:
    """The travelling words that are bound just now."""
    return select(get_contextvars())


def select(words: object) -> dict[str, str]:
    """What of `words` may travel. Anything else, and anything that is not short text, is left behind.

    It also reads headers, which anyone who can write to the broker can fill.
    """
    if not isinstance(words, Mapping):
        return {}
    found = ((name, words.get(name)) for name in TRAVELLING)
    return {name: word for name, word in found if isinstance(word, str) and 0 < len(word) <= MAX_VALUE_LENGTH}


def bind(words: Mapping[str, str]) -> None:
    """Adds the travelling words among `words` to the log context of this task or thread."""
    bind_contextvars(**select(words))


def clear() -> None:
    """Empties the log context of this task or thread, so that nothing of the last piece of work is said of the next."""
    clear_contextvars()


def write_headers(headers: MutableMapping[str, Any], now: float) -> None:
    """Adds the context and the time of sending (epoch seconds) to a message's headers, unless they are there.

    A retried message comes with the headers of the attempt before it: its waiting starts anew, its context stays.
    """
    if CONTEXT_HEADER not in headers and (words := capture()):
        headers[CONTEXT_HEADER] = words
    if headers.get("retries") or not isinstance(headers.get(ENQUEUED_HEADER), int | float):
        headers[ENQUEUED_HEADER] = now
