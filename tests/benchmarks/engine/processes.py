"""A worker under test: its processes from start to end, and what they have used."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
STOP_SECONDS = 10.0
ROOT = Path(__file__).parents[3]


class Worker:
    """A started worker, with whatever processes it starts itself."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process, self._log = process, log

    def pids(self) -> list[int]:
        """Its processes now."""
        return tree(self._process.pid)

    def cpu_seconds(self) -> float:
        """Processor time its living processes have used."""
        self.check()
        return cpu_seconds(self.pids())

    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def check(self) -> None:
        """Raises RuntimeError, with the end of the log, when it has ended."""
        if not self.is_alive():
            raise RuntimeError(f"a worker ended by itself: {self._log.read_text()[-2000:]}")

    def kill(self) -> None:
        """Ends all its processes at once, as a power cut would."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        """Ends it politely, and after a while otherwise."""
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_SECONDS)
        self.kill()


@contextlib.contextmanager
def running(command: Sequence[str], variables: Mapping[str, str], log: Path) -> Iterator[Worker]:
    """A worker for the block's time. Everybody's output goes to a file."""
    worker = start(command, variables, log)
    try:
        yield worker
    finally:
        worker.kill()


def start(command: Sequence[str], variables: Mapping[str, str], log: Path) -> Worker:
    """A worker in a process group of its own."""
    with log.open("ab") as out:
        process = subprocess.Popen(
            command, env=environment(variables), cwd=ROOT, stdout=out, stderr=out, start_new_session=True
        )
    return Worker(process, log)


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """This process's environment without what would make one worker unlike another's, and with `variables`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MOORAGE_", "CELERY_", "REDIS_"))}
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    return kept | dict(variables)


def tree(pid: int) -> list[int]:
    """The process and all that descend from it."""
    found = [pid]
    for parent in found:
        for children in Path(f"/proc/{parent}/task").glob(
            "*/children"
        ):  # of every thread: not only the first one forks
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                found += [int(child) for child in children.read_text().split()]
    return found


def cpu_seconds(pids: Sequence[int]) -> float:
    """User and system time of the processes, to a hundredth of a second."""
    total = 0
    for pid in pids:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
    return total / TICKS_PER_SECOND
