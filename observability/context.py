"""The few words that travel with a piece of work, from the HTTP request through the message into each log line.

Only the names listed here travel. A message is read by other processes, perhaps of another version, and whatever else a
request happens to have bound to its log context is nobody's business there.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from contextvars import ContextVar
from typing import Any

from structlog.contextvars import bind_contextvars, clear_contextvars, get_contextvars, merge_contextvars
from structlog.typing import EventDict, WrappedLogger

TRAVELLING = ("request_id", "traceparent", "owner_id")
CONTEXT_HEADER = "moorage_context"
ENQUEUED_HEADER = "enqueued_at"
MAX_VALUE_LENGTH = 256

_NO_WORDS: Mapping[str, object] = {}
_attempt: ContextVar[Mapping[str, object]] = ContextVar("moorage_attempt", default=_NO_WORDS)
"""What each line says while an attempt at a task runs: one variable, where structlog has one for every word."""


def capture() -> dict[str, str]:
    """The travelling words that are bound just now."""
    return select({**_attempt.get(), **get_contextvars()})


def select(words: object) -> dict[str, str]:
    """What of `words` may travel. Anything else, and anything that is not short text, is left behind.

    It also reads headers, which anyone who can write to the broker can fill.
    """
    if not isinstance(words, dict) and not isinstance(words, Mapping):  # the second, an abstract class, is slow
        return {}
    found = {}
    for name in TRAVELLING:
        word = words.get(name)
        if isinstance(word, str) and 0 < len(word) <= MAX_VALUE_LENGTH:
            found[name] = word
    return found


def bind(words: Mapping[str, str]) -> None:
    """Adds the travelling words among `words` to the log context of this task or thread."""
    bind_contextvars(**select(words))


def is_bound() -> bool:
    """Whether something is bound beside the words of an attempt."""
    return bool(get_contextvars())


def begin_attempt(words: Mapping[str, object]) -> None:
    """Makes the log context of this task or thread that of an attempt at a task, and nothing else."""
    clear_contextvars()
    _attempt.set(words)


def clear() -> None:
    """Empties the log context of this task or thread, so that nothing of the last piece of work is said of the next."""
    clear_contextvars()
    _attempt.set(_NO_WORDS)


def merge(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Adds the log context to a line, which may say otherwise; a structlog processor."""
    event = merge_contextvars(logger, method, event)
    words = _attempt.get()
    return {**words, **event} if words else event


def write_headers(headers: MutableMapping[str, Any], now: float) -> None:
    """Adds the context and the time of sending (epoch seconds) to a message's headers, unless they are there.

    A retried message comes with the headers of the attempt before it: its waiting starts anew, its context stays.
    """
    if CONTEXT_HEADER not in headers and (words := capture()):
        headers[CONTEXT_HEADER] = words
    if headers.get("retries") or not isinstance(headers.get(ENQUEUED_HEADER), int | float):
        headers[ENQUEUED_HEADER] = now
