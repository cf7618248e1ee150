"""When a message may be delivered, as its `eta` header says. The claim reads it in the same way (`lua/message.lua`)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any


def due_seconds(message: Mapping[str, Any]) -> float | None:
    """Seconds since 1970; None for a message that may be delivered at any time, or whose `eta` nobody can read.

    An `eta` without an offset is UTC.
    """
    eta = (message.get("headers") or {}).get("eta")
    if not isinstance(eta, str):
        return None
    try:
        due = datetime.fromisoformat(eta)
        return (due if due.tzinfo else due.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
