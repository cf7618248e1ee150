"""Signs of life of this process. A lease is renewed only while all of them are recent.

A process can hang with its threads alive; without this, one of them would keep its messages from everybody for ever.
"""

from __future__ import annotations

from collections.abc import Callable

SecondsSince = Callable[[], float]

_signs: dict[SecondsSince, str] = {}


def register(name: str, seconds_since: SecondsSince) -> None:
    """Adds a sign: `seconds_since()` says how long ago `name` last gave one. Several may have the same name."""
    _signs[seconds_since] = name


def unregister(seconds_since: SecondsSince) -> None:
    """This one is over on purpose, and not missed. Nothing, where it was not registered."""
    _signs.pop(seconds_since, None)


def overdue(after_seconds: float) -> str | None:
    """The name of something that gave no sign for longer than this; None if all is well."""
    return next((name for seconds_since, name in list(_signs.items()) if seconds_since() > after_seconds), None)
