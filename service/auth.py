"""Who is asking, and may they: keys from headers, checked against the catalog, remembered for a few seconds.

A revoked key is refused by every process within `REMEMBER_SECONDS`.
"""

from __future__ import annotations

from typing import Any, cast

import msgspec
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.types import Guard

from service.errors import Forbidden, Unauthenticated
from tasks.catalog import keys
from tasks.catalog.engine import Catalog
from tasks.catalog.keys import KEY_PREFIX, Scope
from tasks.clock import Clock

REMEMBER_SECONDS = 5.0
MOST_REMEMBERED = 10_000
LONGEST_KEY = 200

PRINCIPAL = "moorage_principal"


class Principal(msgspec.Struct, frozen=True):
    """Whoever holds a valid key."""

    owner: str
    scopes: frozenset[Scope]
    key_id: str


class Doorkeeper:
    """Checks keys for one process."""

    def __init__(self, catalog: Catalog, clock: Clock) -> None:
        self._catalog, self._clock = catalog, clock
        self._remembered: dict[bytes, tuple[float, Principal | None]] = {}

    async def identify(self, text: str) -> Principal | None:
        """The holder of a key, or None. Raises CatalogUnavailable when it has to be looked up and cannot be."""
        if not text.startswith(KEY_PREFIX) or len(text) > LONGEST_KEY:
            return None
        key_hash = keys.hash_key(text)
        now = self._clock.monotonic()
        seen = self._remembered.get(key_hash)
        if seen is not None and seen[0] > now:
            return seen[1]
        async with self._catalog.read() as connection:
            row = await keys.find(connection, key_hash)
        principal = Principal(row.owner, frozenset(row.scopes), row.id) if row else None
        if len(self._remembered) >= MOST_REMEMBERED:
            self._remembered.clear()
        self._remembered[key_hash] = (now + REMEMBER_SECONDS, principal)
        return principal


async def _authenticate(connection: ASGIConnection[Any, Any, Any, Any]) -> Principal:
    doorkeeper: Doorkeeper = connection.app.state.doorkeeper
    text = connection.headers.get("x-api-key", "")
    if not text:
        scheme, _, credentials = connection.headers.get("authorization", "").partition(" ")
        text = credentials.strip() if scheme.lower() == "bearer" else ""
    principal = await doorkeeper.identify(text)
    if principal is None:
        raise Unauthenticated
    cast("dict[str, Principal]", connection.scope)[PRINCIPAL] = principal
    return principal


async def any_key(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """A guard that asks for a valid key."""
    await _authenticate(connection)


def needs(scope: Scope) -> Guard:
    """A guard that asks for a valid key with `scope`."""

    async def guard(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        if scope not in (await _authenticate(connection)).scopes:
            raise Forbidden(scope)

    return guard


def principal_of(connection: ASGIConnection[Any, Any, Any, Any]) -> Principal:
    """Who passed the guard."""
    return cast("dict[str, Principal]", connection.scope)[PRINCIPAL]
