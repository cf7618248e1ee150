"""The options of the transport that are its own. They stand in `broker_transport_options`, beside kombu's."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Options:
    """How messages are taken and kept."""

    lease_seconds: float = 10.0
    """How long a message stays with a holder that gives no sign. It is renewed four times as often."""

    claim_most: int = 200
    """Most messages taken at once."""

    ack_delay_seconds: float = 0.01
    """How long acknowledgements may gather before they are sent by themselves."""

    hung_seconds: float = 3_600.0
    """How long a process whose event loop does not turn keeps its messages."""

    poll_seconds: float = 1.0
    """How long an idle consumer waits at most before it looks by itself."""

    silence_seconds: float = 5.0
    """How long a server may leave a question unanswered until its connection is taken for dead; also the
    `socket_timeout` of who gives none."""

    drain_seconds: float = 0.01
    """How long messages are delivered before the event loop gets its turn."""

    @classmethod
    def read(cls, transport_options: Mapping[str, object]) -> Options:
        """The transport's own among all options of a connection."""
        mine = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in transport_options.items() if name in mine})  # type: ignore[arg-type]
