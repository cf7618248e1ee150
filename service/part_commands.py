"""`moorage api`, `worker` and `beat`: one part alone, for installations that run each in a process of its own."""

from __future__ import annotations

import difflib

import click

from tasks.queues import QUEUES


class QueueList(click.ParamType[list[str]]):
    """Names of queues, separated by commas. A misspelt one would be consumed by nobody, so it is refused."""

    name = "queues"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> list[str]:
        """Splits and checks."""
        names = [name.strip() for name in str(value).split(",") if name.strip()]
        for name in names:
            if name not in QUEUES:
                close = difflib.get_close_matches(name, QUEUES, n=1)
                hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(QUEUES)}"
                self.fail(f"there is no queue {name!r}; {hint}", param, ctx)
        if not names:
            self.fail("name at least one queue", param, ctx)
        return names


@click.command()
def api() -> None:
    """Runs the HTTP API on MOORAGE_HOST and MOORAGE_PORT."""
    from service.roles import run_api

    run_api()


@click.command()
@click.option("--queues", type=QueueList(), default=",".join(QUEUES), show_default=True, help="Queues to consume.")
@click.option("--concurrency", type=click.IntRange(min=1), help="Tasks at a time.  [default: 100 on the event loop]")
@click.option("--pool", type=click.Choice(["asyncio", "prefork", "threads"]), help="What to run them in.")
def worker(queues: list[str], concurrency: int | None, pool: str | None) -> None:
    """Runs a worker."""
    from service.roles import run_worker

    run_worker(queues, concurrency, pool)


@click.command()
def beat() -> None:
    """Runs the schedule. Run one, not several."""
    from service.roles import run_beat

    run_beat()
