"""How the command line says what went wrong: one line on standard error, recognisable among the log's lines."""

from __future__ import annotations

import click


def complain(sentence: str) -> None:
    """Says it."""
    click.echo(f"moorage: {sentence}", err=True)
