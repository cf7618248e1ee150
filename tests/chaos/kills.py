"""Kills workers and the server at moments drawn from a seed, under load, and counts what was lost and what ran twice.

    python -m tests.chaos.kills --messages 100000 --worker-kills 200 --server-kills 5 [--seed N] [--only ours|stock]

Every message that the server has confirmed must run; one that runs twice is no fault, since an acknowledgement can die
with its worker. Stock Celery goes through the same schedule and is printed beside it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.installation import Row, print_table
from tests.chaos.engines import OURS, STOCK, Engine
from tests.chaos.schedule import Plan, draw
from tests.chaos.trial import Outcome, Trial


def rows(engine: Engine, outcome: Outcome, *, bounded: bool) -> list[Row]:
    """The lines of the table."""
    lost = len(outcome.lost)
    kills = f"{outcome.worker_kills}, {outcome.kills_under_load}, {outcome.server_kills}"
    return [
        Row(engine.name, f"{outcome.confirmed:,} confirmed"),
        Row("  lost", f"{lost:,}", "0" if bounded else "", lost == 0 if bounded else None),
        Row("  run again", f"{outcome.repeated:,}"),
        Row("  left over", json.dumps(outcome.left_over)),
        Row("  kills of workers, under load, of the server", kills),
        Row("  workers that ended by themselves", f"{outcome.own_deaths}"),
        Row("  took", f"{outcome.seconds:.0f} s"),
    ]


def main(words: Sequence[str] | None = None) -> None:
    """Reads the command line, kills, prints. Exit code 1 when ours has lost something."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--worker-kills", type=int, default=200)
    parser.add_argument("--server-kills", type=int, default=5)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--seed", type=int, help="to see the same moments again")
    parser.add_argument("--only", choices=("ours", "stock"))
    arguments = parser.parse_args(words)
    seed = secrets.randbelow(1_000_000) if arguments.seed is None else arguments.seed
    plan = Plan(arguments.messages, arguments.worker_kills, arguments.server_kills, arguments.workers, seed)
    engines = {"ours": OURS, "stock": STOCK}
    table: list[Row] = []
    for name, engine in engines.items():
        if arguments.only in (None, name):
            print(f"seed {seed}: {engine.name} …", file=sys.stderr)
            with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
                outcome = asyncio.run(Trial(engine, plan, draw(plan), Path(folder)).run())
            print(f"  {len(outcome.lost)} lost in {outcome.seconds:.0f} s", file=sys.stderr)
            table += rows(engine, outcome, bounded=name == "ours")
    print_table(f"Kills, seed {seed}", table)
    sys.exit(any(row.kept is False for row in table))


if __name__ == "__main__":
    main()
