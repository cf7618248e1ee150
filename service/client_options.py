"""What the client's commands share: how they find the server and the key, and how their errors end."""

from __future__ import annotations

import asyncio
import functools
import os
import sys
from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import urlsplit

import click

from service.client import MoorageClient
from service.client_errors import EXIT_CODES, ClientError
from service.client_settings import ClientSettings
from service.complain import complain
from tasks.settings import read

EXIT_CODE_HELP = "\b\nExit codes:\n" + "\n".join(f"  {code}  {meaning}" for code, meaning in EXIT_CODES.items())


def client_options(command: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Gives an async command a connected `client` from `--url` and `--key`, and turns ClientError into an exit code."""

    @click.option("--url", help="Address of the server. [MOORAGE_URL; http://127.0.0.1:8000]")
    @click.option("--key", help="API key. [MOORAGE_API_KEY; else the file api-key in MOORAGE_DATA, for a local server]")
    @functools.wraps(command)
    def run(*, url: str | None, key: str | None, **arguments: Any) -> None:
        settings = client_settings(url, key)

        async def connected() -> None:
            async with MoorageClient(settings.url, settings.effective_key) as client:
                await command(client=client, **arguments)

        try:
            asyncio.run(connected())
        except ClientError as error:
            complain(str(error))
            sys.exit(error.exit_code)

    return run


def client_settings(url: str | None, key: str | None) -> ClientSettings:
    """The settings, an option winning over its variable. Raises click.UsageError."""
    given = {"MOORAGE_URL": url, "MOORAGE_API_KEY": key}
    settings = read(ClientSettings, {**os.environ, **{name: value for name, value in given.items() if value}})
    try:
        parts = urlsplit(settings.url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError as error:  # of a port, say
        raise click.UsageError(str(error)) from error
    if not usable:
        raise click.UsageError(f"{settings.url} is not an address; it should look like http://127.0.0.1:8000")
    if not settings.effective_key.isascii() or not settings.effective_key.isprintable():
        raise click.UsageError("the API key has characters that no key has")
    return settings
