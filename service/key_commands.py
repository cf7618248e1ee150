"""`moorage keys`: who may use this Moorage. Works on the catalog itself, so it needs no server and no key."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import click

from tasks.catalog import keys as key_rows
from tasks.catalog import migrate
from tasks.catalog.engine import Catalog
from tasks.catalog.keys import ALL_SCOPES, KeyRow
from tasks.clock import SystemClock
from tasks.errors import MoorageError
from tasks.settings import TaskSettings, read

T = TypeVar("T")
NOT_FOUND = 4
LONGEST_OWNER = 255


@click.group("keys")
def keys() -> None:
    """Create, list and revoke API keys."""


class OwnerName(click.ParamType[str]):
    """A name that fits the catalog and a line of `keys list`."""

    name = "owner"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Checks it."""
        text = str(value)
        if not 0 < len(text) <= LONGEST_OWNER or not text.isprintable() or text.isspace():
            self.fail(f"an owner's name has 1 to {LONGEST_OWNER} printable characters", param, ctx)
        return text


@keys.command("create")
@click.option("--owner", type=OwnerName(), required=True, help="Whose tasks and uploads the key's holder sees.")
@click.option(
    "--scope", "scopes", multiple=True, type=click.Choice(ALL_SCOPES), help="Repeatable; default: all but admin"
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def create(owner: str, scopes: tuple[Any, ...], as_json: bool) -> None:
    """Makes a key and prints it. It is shown this once; only its hash is stored."""
    text = key_rows.new_key()
    chosen = scopes or tuple(scope for scope in ALL_SCOPES if scope != "admin")

    async def add(catalog: Catalog) -> KeyRow:
        async with catalog.write() as transaction:
            return await key_rows.add(transaction, text, owner, chosen, SystemClock().now())

    row = _with_catalog(add)
    click.echo(json.dumps(_public(row) | {"key": text}) if as_json else text)


@keys.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line on stdout.")
def list_keys(as_json: bool) -> None:
    """Shows every key: its id, owner, scopes and times, never its text."""

    async def everything(catalog: Catalog) -> list[KeyRow]:
        async with catalog.read() as connection:
            return await key_rows.everything(connection)

    for row in _with_catalog(everything):
        public = _public(row)
        state = "revoked" if row.revoked_at else "valid"
        line = f"{row.id}  {state:7}  {public['created_at']}  {row.owner}  {','.join(row.scopes)}"
        click.echo(json.dumps(public) if as_json else line)


@keys.command("revoke")
@click.argument("key_id")
def revoke(key_id: str) -> None:
    """Ends a key. Every process refuses it within five seconds."""

    async def end(catalog: Catalog) -> bool:
        async with catalog.write() as transaction:
            return await key_rows.revoke(transaction, key_id, SystemClock().now())

    if not _with_catalog(end):
        click.echo(f"moorage: there is no valid key with the id {key_id}; `moorage keys list` shows them", err=True)
        raise SystemExit(NOT_FOUND)
    click.echo(f"{key_id} is revoked")


def _with_catalog(work: Callable[[Catalog], Awaitable[T]]) -> T:
    settings = read(TaskSettings, os.environ)

    async def run() -> T:
        catalog = Catalog(settings.effective_database_url)
        try:
            await migrate.upgrade(catalog)
            return await work(catalog)
        finally:
            await catalog.close()

    if not settings.database_url and not settings.data.is_dir():
        raise click.ClickException(f"no Moorage in {settings.data}; start one with `moorage up` or set MOORAGE_DATA")
    try:
        return asyncio.run(run())
    except MoorageError as error:
        raise click.ClickException(str(error)) from error


def _public(row: KeyRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "owner": row.owner,
        "scopes": list(row.scopes),
        "created_at": _rfc3339(row.created_at),
        "revoked_at": None if row.revoked_at is None else _rfc3339(row.revoked_at),
    }


def _rfc3339(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
