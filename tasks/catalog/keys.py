"""Rows of `keys`: who may do what. A key is 256 random bits; only its SHA-256 is stored."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import uuid
from typing import Literal

import msgspec
from sqlalchemy import insert, select, update

from tasks.catalog.engine import Transaction
from tasks.catalog.mapping import as_struct
from tasks.catalog.schema import keys

KEY_PREFIX = "ipfs_gw_"
Scope = Literal["upload", "pin", "read", "admin"]
ALL_SCOPES: tuple[Scope, ...] = ("upload", "pin", "read", "admin")


class KeyRow(msgspec.Struct, frozen=True, kw_only=True):
    """One key, without its text."""

    id: str
    owner: str
    scopes: tuple[Scope, ...]
    key_hash: bytes
    created_at: float
    revoked_at: float | None = None


def new_key() -> str:
    """The text of a new key."""
    return KEY_PREFIX + base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=").decode()


def hash_key(text: str) -> bytes:
    """What is stored of a key. It needs no salt or stretching: the key is random."""
    return hashlib.sha256(text.encode()).digest()


async def add(transaction: Transaction, text: str, owner: str, scopes: tuple[Scope, ...], now: float) -> KeyRow:
    """Stores a key's hash."""
    row = KeyRow(id=str(uuid.uuid4()), owner=owner, scopes=scopes, key_hash=hash_key(text), created_at=now)
    await transaction.execute(insert(keys).values(msgspec.structs.asdict(row)))
    return row


async def find(connection: Transaction, key_hash: bytes) -> KeyRow | None:
    """The valid key with this hash. The index narrows it down; equality is decided in constant time."""
    query = select(keys).where(keys.c.key_hash == key_hash, keys.c.revoked_at.is_(None))
    found = (await connection.execute(query)).mappings().one_or_none()
    if found is None or not hmac.compare_digest(found["key_hash"], key_hash):
        return None
    return as_struct(found, KeyRow)


async def everything(connection: Transaction) -> list[KeyRow]:
    """All keys, revoked ones too, the oldest first."""
    found = await connection.execute(select(keys).order_by(keys.c.created_at))
    return [as_struct(row, KeyRow) for row in found.mappings()]


async def revoke(transaction: Transaction, key_id: str, now: float) -> bool:
    """Ends a key. False when there is no such key or it has ended before."""
    statement = update(keys).where(keys.c.id == key_id, keys.c.revoked_at.is_(None)).values(revoked_at=now)
    return (await transaction.execute(statement)).rowcount == 1
