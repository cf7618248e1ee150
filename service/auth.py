"""Who is asking, and may they: keys from headers, checked against the catalog, remembered for a few seconds.

A revoked key is refused by every process within `REMEMBER_SECONDS`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, cast

import msgspec
from litestar import Request
from litestar.connection import ASGIConnection
from litestar.datastructures import State as AppState

from service.errors import Forbidden, Unauthenticated
from tasks.catalog import keys
from tasks.catalog.engine import Catalog
from tasks.catalog.keys import KEY_PREFIX, Scope
from tasks.clock import Clock

AnyRequest = Request[Any, Any, AppState]
Check = Callable[[AnyRequest], Awaitable[None]]
"""A router's `before_request`: Litestar copies the whole handler for each call of a guard, these cost nothing."""

REMEMBER_SECONDS = 5.0
AHEAD_SECONDS = 3.0
"""How long before it is forgotten a key in use is looked up anew."""
MOST_REMEMBERED = 10_000
LONGEST_KEY = 200

PRINCIPAL = "moorage_principal"


class Principal(msgspec.Struct, frozen=True):
    """Whoever holds a valid key."""

    owner: str
    scopes: frozenset[Scope]
    key_id: str


class Doorkeeper:
    """Checks keys for one process.

    What is in use is looked up anew before it is forgotten, while requests go on with what is remembered: none of them
    waits for the catalog but the first. Requests that come together share a look-up.
    """

    def __init__(self, catalog: Catalog, clock: Clock) -> None:
        self._catalog, self._clock = catalog, clock
        self._remembered: dict[bytes, tuple[float, Principal | None]] = {}
        self._looking: dict[bytes, asyncio.Task[Principal | None]] = {}

    async def identify(self, text: str) -> Principal | None:
        """The holder of a key, or None. Raises CatalogUnavailable when it has to be looked up and cannot be."""
        if not text.startswith(KEY_PREFIX) or len(text) > LONGEST_KEY:
            return None
        key_hash = keys.hash_key(text)
        left_seconds, principal = self._recall(key_hash)
        if left_seconds <= 0:
            return await asyncio.shield(self._look_up(key_hash))
        if left_seconds <= AHEAD_SECONDS and principal is not None:
            self._look_up(key_hash)
        return principal

    def _recall(self, key_hash: bytes) -> tuple[float, Principal | None]:
        good_until, principal = self._remembered.get(key_hash, (0.0, None))
        return good_until - self._clock.monotonic(), principal

    def _look_up(self, key_hash: bytes) -> asyncio.Task[Principal | None]:
        if (looking := self._looking.get(key_hash)) is None:
            looking = self._looking[key_hash] = asyncio.create_task(self._ask_catalog(key_hash))
            looking.add_done_callback(lambda done: self._looked_up(key_hash, done))
        return looking

    def _looked_up(self, key_hash: bytes, done: asyncio.Task[Principal | None]) -> None:
        del self._looking[key_hash]
        if not done.cancelled():
            done.exception()  # seen: nobody may be waiting for it

    async def _ask_catalog(self, key_hash: bytes) -> Principal | None:
        good_until = self._clock.monotonic() + REMEMBER_SECONDS
        async with self._catalog.read() as connection:
            row = await keys.find(connection, key_hash)
        principal = Principal(row.owner, frozenset(row.scopes), row.id) if row else None
        if len(self._remembered) >= MOST_REMEMBERED:
            self._remembered.clear()
        self._remembered[key_hash] = (good_until, principal)
        return principal


async def any_key(connection: AnyRequest) -> None:
    """Asks for a valid key."""
    await _authenticate(connection)


def needs(scope: Scope) -> Check:
    """Asks for a valid key with `scope`."""

    async def check(connection: AnyRequest) -> None:
        if scope not in (await _authenticate(connection)).scopes:
            raise Forbidden(scope)

    return check


async def _authenticate(connection: AnyRequest) -> Principal:
    doorkeeper: Doorkeeper = connection.app.state.doorkeeper
    principal = await doorkeeper.identify(_key_in(connection.scope["headers"]))
    if principal is None:
        raise Unauthenticated
    cast("dict[str, Principal]", connection.scope)[PRINCIPAL] = principal
    return principal


def _key_in(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The key that a request carries, or "". The raw list is read because a parsed one costs more than the rest."""
    bearer = ""
    for name, value in headers:
        if name == b"x-api-key":
            return value.decode("latin-1")
        if name == b"authorization":
            scheme, _, credentials = value.decode("latin-1").partition(" ")
            bearer = credentials.strip() if scheme.lower() == "bearer" else bearer
    return bearer


def principal_of(connection: ASGIConnection[Any, Any, Any, Any]) -> Principal:
    """Who passed the guard."""
    return cast("dict[str, Principal]", connection.scope)[PRINCIPAL]
