"""`moorage`, the command line: one table of commands, each imported only when it is called: `--help` is quick."""

from __future__ import annotations

import difflib
from importlib import import_module
from typing import NoReturn

import click

from tasks.errors import InvalidSetting

COMMANDS = {
    "up": ("service.up:up", "Run all parts on this machine."),
    "api": ("service.part_commands:api", "Run the HTTP API alone."),
    "worker": ("service.part_commands:worker", "Run a worker alone."),
    "beat": ("service.part_commands:beat", "Run the schedule alone."),
    "put": ("service.client_commands:put", "Send files to a server."),
    "status": ("service.client_commands:status", "Show where a task stands."),
    "get": ("service.client_commands:get", "Fetch content by its CID."),
    "keys": ("service.key_commands:keys", "Create, list and revoke API keys."),
}
"""Name, where the command is defined, and its line in the overview."""


class LazyGroup(click.Group):
    """A group that knows its commands by name and loads one when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the table's order."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports the command's module."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Refuses an unknown name with the closest known one."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            _refuse(ctx, args[0])
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        """Runs the command. A variable that does not fit is wrong usage, whichever command reads it."""
        try:
            return super().invoke(ctx)
        except InvalidSetting as error:
            raise click.UsageError(str(error)) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the overview without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(cls=LazyGroup)
@click.version_option(package_name="moorage", message="moorage %(version)s")
def main() -> None:
    """Moorage: a self-hosted upload and pinning gateway for IPFS."""


def _refuse(ctx: click.Context, name: str) -> NoReturn:
    close = difflib.get_close_matches(name, COMMANDS, n=1)
    hint = f" Did you mean {close[0]}?" if close else ""
    ctx.fail(f"No such command {name!r}.{hint}")


if __name__ == "__main__":
    main(prog_name="moorage")
