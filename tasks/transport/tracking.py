"""How an idle consumer learns that there is something to take: the server tells it, or it looks from time to time.

The claim ends by reading the keys it found empty. A tracking client is told when one of them changes, whoever changes
it, so nobody has to publish in a special way. Where tracking is refused, the consumer looks by itself: often at first,
since work rarely comes alone, and ever less often up to a bound.
"""

from __future__ import annotations

from typing import Any

from kombu.log import get_logger
from redis.exceptions import ResponseError

logger = get_logger(__name__)

FIRST_LOOK_SECONDS = 0.02


class Watch:
    """What one consumer's connection can expect. `poll_seconds` is the longest it goes without looking."""

    def __init__(self, poll_seconds: float) -> None:
        self._poll_seconds = poll_seconds
        self._is_told = False
        self._said_refused = False
        self._empty_looks = 0

    def begin(self, connection: Any) -> None:
        """Asks the server at the other end of a new connection to tell."""
        self._is_told = str(connection.protocol) == "3" and self._asked(connection)

    def found_something(self) -> None:
        """The last look was worth it."""
        self._empty_looks = 0

    def patience_seconds(self, due_milliseconds: int | None) -> float:
        """How long to wait after a look that found too little, when the next delayed message is due then."""
        seconds = self._poll_seconds
        if not self._is_told:
            seconds = min(seconds, FIRST_LOOK_SECONDS * 2.0 ** min(self._empty_looks, 16))
            self._empty_looks += 1
        return seconds if due_milliseconds is None else min(seconds, due_milliseconds / 1_000)

    def _asked(self, connection: Any) -> bool:
        connection.send_command("CLIENT", "TRACKING", "ON", "NOLOOP")
        try:
            connection.read_response()
        except ResponseError as error:
            if not self._said_refused:
                logger.warning(
                    "transport: the broker does not announce messages (%s), so an idle consumer looks for them, "
                    "at least every %g s",
                    error,
                    self._poll_seconds,
                )
            self._said_refused = True
            return False
        return True
