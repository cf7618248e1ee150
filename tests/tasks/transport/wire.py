"""Messages as kombu writes them, for tests that play the publisher."""

from __future__ import annotations

import base64
import json
import uuid
from typing import Any

USUAL_BODY = b"W1tdLCB7fSwge31d"
"""No arguments."""


def raw_message(
    tag: str | None = None,
    queue: str = "q",
    priority: int = 0,
    compact: bool = False,
    body: bytes | None = None,
    **headers: Any,
) -> bytes:
    """A message of this queue, in kombu's envelope."""
    envelope = {
        "body": (base64.b64encode(body) if body else USUAL_BODY).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": headers,
        "properties": {
            "correlation_id": "c",
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": queue},
            "priority": priority,
            "body_encoding": "base64",
            "delivery_tag": tag or str(uuid.uuid4()),
        },
    }
    return json.dumps(envelope, separators=(",", ":") if compact else None).encode()


def headers_of(raw: bytes | str) -> dict[str, Any]:
    """The headers of a raw message."""
    found: dict[str, Any] = json.loads(raw)["headers"]
    return found


def tag_of(raw: bytes | str) -> str:
    """The delivery tag of a raw message."""
    return str(json.loads(raw)["properties"]["delivery_tag"])
