"""How often a message's holder has died: a header that the transport counts up, see `docs/transport.md`.

Whoever can reach the broker writes headers, so what is no count is read as none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

HEADER = "x-losses"


def losses_in(headers: Mapping[str, Any]) -> int:
    """What the header says, or 0."""
    losses = headers.get(HEADER)
    return losses if type(losses) is int and losses > 0 else 0
