"""kombu's poller, for consumers that claim in batches: no answer waits in a socket, and the loop gets its turns."""

from __future__ import annotations

import socket
import time
from queue import Empty
from typing import TYPE_CHECKING, Any

from tasks.transport.kombu_privates import StockPoller

if TYPE_CHECKING:
    from collections.abc import Callable

    from tasks.transport.intake import Intake

EARLIER_SECONDS = 0.001
MOST_BLOCK_SECONDS = 1.0
"""How long a consumer without an event loop sleeps at most before it looks whether an answer is overdue."""


class Poller(StockPoller):
    """Polls the channels of one connection; `hub` is the event loop, or None when the consumer drains by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.hub: Any = None
        self._turned_at = time.monotonic()
        self._call_at: float | None = None
        self._call: Any = None
        self._again: set[Intake] = set()
        self._bell: tuple[socket.socket, socket.socket] | None = None

    def seconds_since_turn(self) -> float:
        """How long ago the event loop, or the consumer, last came by."""
        return time.monotonic() - self._turned_at

    def has_consumers(self) -> bool:
        """Whether any channel has queues to take from."""
        return any(channel.active_queues for channel in tuple(self._channels))

    def call_at(self, when: float) -> None:
        """Makes the loop turn at this time of the monotonic clock, at the latest. One call is enough for all."""
        if self.hub is None or (self._call_at is not None and self._call_at <= when + EARLIER_SECONDS):
            return
        if self._call is not None:
            self._call.cancel()
        self._call_at = when
        self._call = self.hub.call_later(max(0.0, when - time.monotonic()), self._called)

    def call_again(self, intake: Intake, wanted: bool) -> None:
        """Has the loop deliver more of this backlog after it has looked at everything else."""
        (self._again.add if wanted else self._again.discard)(intake)
        if self.hub is None:
            return
        if self._again and self._bell is None:  # a socket that stays readable: timers and call_soon may wait a second
            self._bell = socket.socketpair()
            self._bell[1].send(b"!")
            self.hub.add_reader(self._bell[0], self._deliver_again)
        elif not self._again:
            self._silence()

    def on_poll_start(self) -> None:
        """Before every poll."""
        self._turned_at = now = time.monotonic()
        self._wake_who_is_due(now)
        super().on_poll_start()

    def on_readable(self, fileno: int) -> Any:
        """There is something to read. An answer is read also without room: what it brings is held already.

        Raises Empty when nobody was given a message: who drains with a time limit would start it anew otherwise.
        """
        found = self._fd_to_chan.get(fileno)
        if found is not None and found[1] == "BRPOP":
            if not found[0].intake.on_readable():
                raise Empty
            return True
        return super().on_readable(fileno)

    def get(self, callback: Callable[..., Any], timeout: float | None = None) -> None:
        """Delivers what there is, for a consumer without an event loop. Raises Empty."""
        for channel in tuple(self._channels):
            if channel.intake.backlog:
                channel.intake.deliver()
                return
        now = time.monotonic()
        next_end = self._wake_who_is_due(now) or now + MOST_BLOCK_SECONDS
        super().get(callback, min(next_end - now, MOST_BLOCK_SECONDS if timeout is None else timeout))

    def discard(self, channel: Any) -> None:
        """It is not polled any more."""
        super().discard(channel)
        self._again.discard(channel.intake)

    def close(self) -> None:
        """None of them is."""
        super().close()
        self._again.clear()
        self._silence()
        if self._call is not None:
            self._call.cancel()

    def _update_brpop_polling(self) -> None:
        """Stock leaves an answer in the socket while there is no room; ours brings what there was room for."""

    def _wake_who_is_due(self, now: float) -> float | None:
        """Returns when the next one will be."""
        ends = [channel.intake.wake_if_due(now) for channel in tuple(self._channels)]
        return min((end for end in ends if end is not None), default=None)

    def _called(self) -> None:
        self._call_at = self._call = None
        next_end = self._wake_who_is_due(time.monotonic())
        if next_end is not None:  # here, and not before the poll: the hub has settled by then how long that lasts
            self.call_at(next_end)

    def _deliver_again(self) -> None:
        for intake in tuple(self._again):
            intake.deliver()

    def _silence(self) -> None:
        if self._bell is None:
            return
        bell, self._bell = self._bell, None
        self.hub.remove(bell[0])
        for end in bell:
            end.close()
