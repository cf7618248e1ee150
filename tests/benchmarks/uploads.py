"""What an upload costs, beside what it cannot do without, in one run.

    python -m tests.benchmarks.uploads [--size-mib 1024] [--large-mib 4096] [--rounds 3] [--folder DIR]

Rounds take turns, so that a noisy neighbour disturbs all figures alike; medians are compared as ratios. Needs curl.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from statistics import median

import httpx

from tests.benchmarks.installation import (
    MIB,
    Installation,
    Row,
    finish_upload,
    free_port,
    installation,
    peak_bytes,
    print_table,
    reset_peak,
    resident_bytes,
    write_random,
)


def main() -> None:
    """Reads the command line, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size-mib", type=int, default=1024)
    parser.add_argument("--large-mib", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="on the disk to be measured; the system's own by default")
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(dir=arguments.folder) as scratch,
        installation(arguments.folder) as moorage,
        discarding_server() as discarding,
    ):
        file = Path(scratch) / "file.bin"
        print_table(
            f"{arguments.size_mib} MiB by curl -T, median of {arguments.rounds}",
            speed(moorage, discarding, file, arguments.size_mib, arguments.rounds),
        )
        print_table(f"{arguments.large_mib} MiB by curl -T", memory(moorage, file, arguments.large_mib))


def speed(moorage: Installation, discarding: str, file: Path, size_mib: int, rounds: int) -> list[Row]:
    """Seconds of cp, of a body thrown away, of an upload until its 202, and from there to its CID beside SHA-256."""
    copy, discard, upload, hashing, ingest = [], [], [], [], []
    for _ in range(rounds):
        write_random(file, size_mib)
        os.sync()
        copy.append(copy_seconds(file))
        os.sync()
        discard.append(seconds_of(["curl", "-sS", "-o", os.devnull, "-T", str(file), f"{discarding}/"]))
        os.sync()
        start = time.perf_counter()
        task_id = finish_upload(moorage.curl_upload(file))
        upload.append(time.perf_counter() - start)
        record = moorage.wait(task_id)
        accepted, finished = (datetime.fromisoformat(record[name]) for name in ("created_at", "finished_at"))
        ingest.append((finished - accepted).total_seconds())
        hashing.append(hash_seconds(file))
    rate, share = median(copy) / median(upload), median(ingest) / median(hashing)
    return [
        Row("cp + fsync", f"{size_mib / median(copy):.0f} MiB/s"),
        Row("the same server, body thrown away", f"{size_mib / median(discard):.0f} MiB/s"),
        Row("upload until 202, fsync included", f"{size_mib / median(upload):.0f} MiB/s"),
        Row("  speed beside cp + fsync", f"{rate:.2f} x", "at least 0.6 x", rate >= 0.6),
        Row("one hashlib.sha256 pass over the file", f"{median(hashing):.2f} s"),
        Row("accepted until SUCCESS", f"{median(ingest):.2f} s"),
        Row("  time beside the pass", f"{share:.2f} x", "at most 1.25 x", share <= 1.25),
    ]


def memory(moorage: Installation, file: Path, size_mib: int) -> list[Row]:
    """By how much the API and the worker grow while a large file goes through them."""
    write_random(file, size_mib)
    parts = {"API": moorage.pid("api"), "upload worker": moorage.pid("worker", "upload")}
    before = {name: resident_bytes(pid) for name, pid in parts.items()}
    for pid in parts.values():
        reset_peak(pid)
    moorage.wait(finish_upload(moorage.curl_upload(file)))
    rows = []
    for name, pid in parts.items():
        growth_mib = (peak_bytes(pid) - before[name]) / MIB
        figure = f"{before[name] / MIB:.0f} + {growth_mib:.1f} MiB"
        rows.append(Row(f"resident memory of the {name}", figure, "grows by 64 MiB at most", growth_mib <= 64))
    return rows


def copy_seconds(file: Path) -> float:
    """`cp` and an fsync of the copy."""
    copy = file.with_suffix(".copy")
    start = time.perf_counter()
    subprocess.run(["cp", str(file), str(copy)], check=True)
    with copy.open("rb") as written:
        os.fsync(written.fileno())
    seconds = time.perf_counter() - start
    copy.unlink()
    return seconds


def hash_seconds(file: Path) -> float:
    """One SHA-256 pass, the file in the page cache."""
    start = time.perf_counter()
    with file.open("rb") as opened:
        hashlib.file_digest(opened, "sha256")
    return time.perf_counter() - start


def seconds_of(command: list[str]) -> float:
    """How long a command takes that must succeed."""
    start = time.perf_counter()
    subprocess.run(command, check=True)
    return time.perf_counter() - start


@contextlib.contextmanager
def discarding_server() -> Iterator[str]:
    """The address of a server that throws bodies away."""
    port = free_port()
    with subprocess.Popen([sys.executable, "-m", "tests.benchmarks.discarding", str(port)]) as server:
        try:
            wait_for(f"http://127.0.0.1:{port}/empty")
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


def wait_for(url: str) -> None:
    """Returns once it answers."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.HTTPError):
            httpx.get(url)
            return
        time.sleep(0.05)
    raise TimeoutError(url)


if __name__ == "__main__":
    main()
