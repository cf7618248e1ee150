"""Raw messages as publishers of all sorts spell them, with traps for whoever edits them as text, and what is none."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

STEPS = (0, 3, 6, 9)
QUEUES = ("red", "blue")

SEPARATORS = st.sampled_from([(", ", ": "), (",", ":")])
HEADERS = st.sampled_from(
    [
        {},
        {"lang": "py", "retries": 0},
        {"headers": {"x-losses": 7, "redelivered": False}, "task": 'x-losses": 3, "headers": {'},
        {"argsrepr": '("headers": {}, \'"x-losses": 1\')', "delivery_info": {}, "big": 12345678901234567890},
        None,
    ]
)
PROPERTIES = st.sampled_from(
    [
        {},
        {"delivery_info": {}},
        {"delivery_info": {"exchange": "", "routing_key": "red"}, "headers": {}},
        {"reply_to": "delivery_info", "delivery_info": {"delivery_info": {}}, "empty": []},
    ]
)
BODIES = st.sampled_from(["W10=", [], "ünï \ud800 \U0001f600", {"headers": {}, "x-losses": 0}])
ORDERS = (("body", "headers", "properties"), ("properties", "body", "headers"), ("headers", "properties", "body"))
CUT_OFF = '"body": "W10=", "properties": {{"delivery_tag": "{}"}}}}'
"""What ends as kombu's messages do, and can't be read all the same. It is only found out by who claims it."""
NO_MESSAGES = st.sampled_from(
    ["no json {}", '{{"properties": {{}}, "n": {}}}', "[{}]", "{}", '{{"properties": {{"delivery_tag": {}}}}}', CUT_OFF]
)


@dataclass(eq=False)
class Message:
    """One message: as it was published, and what has happened to it since. `due` is in seconds since 1970."""

    number: int
    queue: str
    step: int
    raw: str
    due: float | None = None
    is_message: bool = True
    passes_for_one: bool = True
    losses: int = 0
    redelivered: bool = False

    @property
    def tag(self) -> str:
        """What it is held under."""
        return tag_of(self.number) if self.is_message else _plain_tag(self.number)

    def looks_right(self, raw: str) -> bool:
        """Whether `raw` is this message: to the byte before it was ever returned, and but for the marks afterwards."""
        if not self.redelivered:
            return raw == self.raw
        expected = copy.deepcopy(json.loads(self.raw))
        if isinstance(expected.get("headers"), dict):
            expected["headers"]["redelivered"] = True
            if self.losses:
                expected["headers"]["x-losses"] = self.losses
        if isinstance(expected["properties"].get("delivery_info"), dict):
            expected["properties"]["delivery_info"]["redelivered"] = True
        return bool(json.loads(raw) == expected)


def tag_of(number: int) -> str:
    """The tag of the message with this number: such as kombu makes, or one that is a trap."""
    return f'tag-{number}-"delivery' if number % 3 == 0 else _plain_tag(number)


def _plain_tag(number: int) -> str:
    return f"8c55fd9c-403b-48d5-9ba2-{number:012}"


@st.composite
def spellings(draw: st.DrawFn) -> dict[str, Any]:
    """All of a message that does not depend on where it goes."""
    parts = {"body": draw(BODIES), "headers": draw(HEADERS), "properties": draw(PROPERTIES)}
    order = draw(st.sampled_from(ORDERS))
    return {
        "parts": {name: parts[name] for name in order if parts[name] is not None},
        "separators": draw(SEPARATORS),
        "tag_last": draw(st.booleans()),
    }


def spelled(spelling: dict[str, Any], number: int, queue: str, priority: int, due: float | None = None) -> Message:
    """A message with this number; one that is due later says so in its header, where it has any."""
    parts = copy.deepcopy(spelling["parts"])
    last = {"delivery_tag": tag_of(number), "priority": priority}
    parts["properties"] |= dict(reversed(last.items())) if spelling["tag_last"] else last
    if due is not None:
        parts.setdefault("headers", {})["eta"] = datetime.fromtimestamp(due, UTC).isoformat()
    raw = json.dumps(parts, separators=spelling["separators"])
    return Message(number, queue, max(step for step in STEPS if step <= priority), raw, due)


def garbled(pattern: str, number: int, queue: str, step: int) -> Message:
    """What is no message."""
    passes = pattern == CUT_OFF
    raw = pattern.format(_plain_tag(number) if passes else number)
    return Message(number, queue, step, raw, is_message=False, passes_for_one=passes)
