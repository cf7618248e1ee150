"""A real PostgreSQL server from the machine's own binaries, in a temporary folder, on a unix socket."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

BINARIES = Path("/usr/lib/postgresql")
ACCOUNT = "postgres"


def binaries() -> Path | None:
    """Where `initdb` and `pg_ctl` of the newest version are, if they are here."""
    found = sorted(BINARIES.glob("*/bin/pg_ctl"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


class RealPostgres:
    """A server that only its user reaches. PostgreSQL refuses to run as root, so root lends it another account."""

    def __init__(self, folder_of_binaries: Path) -> None:
        self._binaries = folder_of_binaries
        self._folder = Path(tempfile.mkdtemp(prefix="pg-"))
        self._as_other = ["setpriv", f"--reuid={ACCOUNT}", "--clear-groups"] if os.geteuid() == 0 else []
        if self._as_other:
            shutil.chown(self._folder, ACCOUNT)

    def url(self, database: str) -> str:
        """The address of one of its databases, as SQLAlchemy spells it."""
        return f"postgresql+asyncpg://{ACCOUNT}@/{database}?host={self._folder}"

    def start(self) -> None:
        """Makes and starts it."""
        self._run("initdb", "-D", str(self._data), "-U", ACCOUNT, "--auth=trust", "--no-sync", "-E", "UTF8")
        options = f"-c listen_addresses='' -c unix_socket_directories={self._folder} -c fsync=off"
        self._run("pg_ctl", "-D", str(self._data), "-w", "-o", options, "-l", str(self._folder / "log"), "start")

    def remove(self) -> None:
        """Ends it for good."""
        self._run("pg_ctl", "-D", str(self._data), "-m", "immediate", "stop")
        shutil.rmtree(self._folder)

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._as_other, str(self._binaries / program), *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=self._folder)
