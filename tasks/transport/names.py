"""The keys of a broker: kombu's own, and ours beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

DELAYED_SUFFIX = ".delayed"
MALFORMED_SUFFIX = ".malformed"


@dataclass(frozen=True, slots=True)
class Names:
    """How keys are called. `prefix` is kombu's `global_keyprefix`; every key returned has it already."""

    prefix: str = ""
    separator: str = "\x06\x16"
    steps: tuple[int, ...] = (0, 3, 6, 9)
    unacked_key: str = "unacked"
    unacked_index_key: str = "unacked_index"

    @property
    def unacked(self) -> str:
        """Hash of what is held: tag -> `[raw,"",queue]`."""
        return self.prefix + self.unacked_key

    @property
    def unacked_index(self) -> str:
        """Sorted set of what is held: tag -> when its lease was last renewed, in seconds since 1970."""
        return self.prefix + self.unacked_index_key

    @property
    def leases(self) -> str:
        """Sorted set of what our workers hold: tag -> when its lease runs out, in seconds since 1970."""
        return f"{self.prefix}{self.unacked_key}_leases"

    @property
    def watch(self) -> str:
        """Hash: when somebody last asked for what dead holders left, and until when that must wait."""
        return f"{self.prefix}{self.unacked_key}_watch"

    def ready(self, queue: str, step: int) -> str:
        """List of the messages of this priority step that wait for a worker."""
        return f"{self.prefix}{queue}{self.separator}{step}" if step else self.prefix + queue

    def delayed(self, queue: str) -> str:
        """Sorted set of raw messages -> when they are due, in seconds since 1970."""
        return self.prefix + queue + DELAYED_SUFFIX

    def malformed(self, queue: str) -> str:
        """List of what was in the queue and is no message."""
        return self.prefix + queue + MALFORMED_SUFFIX

    def of_queue(self, queue: str) -> list[str]:
        """All keys of a queue, as the claim wants them: delayed, malformed, then the list of each step."""
        return [self.delayed(queue), self.malformed(queue), *(self.ready(queue, step) for step in self.steps)]

    def held(self) -> list[str]:
        """The three keys of what is held."""
        return [self.unacked, self.unacked_index, self.leases]

    def for_lists(self) -> Sequence[str | int]:
        """What a script needs to name the list of a message by itself."""
        return [self.prefix, self.separator]
