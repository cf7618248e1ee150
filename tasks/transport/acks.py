"""Acknowledgements on their way to the server. Many threads add; the next claim or the keeper takes."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

MOST_AT_ONCE = 500


class Acks:
    """The delivery tags that are done and not yet known to the server as such.

    Those taken are put back when it is not certain that the server got them: acknowledging twice is harmless.
    """

    def __init__(self) -> None:
        self._tags: deque[str] = deque()

    def __len__(self) -> int:
        return len(self._tags)

    def add(self, tag: str) -> None:
        """This one is done."""
        self._tags.append(tag)

    def take(self) -> list[str]:
        """The oldest of them, to be sent."""
        tags: list[str] = []
        pop = self._tags.popleft
        try:
            while len(tags) < MOST_AT_ONCE:
                tags.append(pop())
        except IndexError:
            pass
        return tags

    def put_back(self, tags: Sequence[str]) -> None:
        """These may not have arrived."""
        self._tags.extendleft(reversed(tags))
