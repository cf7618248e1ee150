"""Runs a command of Moorage's on a machine that has only Python and pip, set up exactly as locked.

    python3 deploy/run.py moorage up
    python3 deploy/run.py --dev pytest

The environment is `.venv` beside this project. It is made when it is missing and made anew when the lock file, the
project's metadata or the Python changed; otherwise this starts the command at once. Every package is checked against
the hash in the lock file. Exits with 2 when the environment cannot be made, else with the command's own exit code.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ROOT / ".venv"
PYTHON: str = getattr(sys, "_base_executable", None) or sys.executable  # and not the one in the environment made anew
STAMP = ENVIRONMENT / "moorage-stamp"
OLDEST_PYTHON = (3, 11)


def fingerprint(lock: Path) -> str:
    """What the environment is made from, as one hash: the lock, the project's metadata and this Python."""
    parts = (lock.read_bytes(), (ROOT / "pyproject.toml").read_bytes(), sys.version.encode(), str(ROOT).encode())
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def make(lock: Path) -> None:
    """Makes the environment anew from `lock`, with the project installed in place."""
    print(f"moorage: setting up {ENVIRONMENT.name} (once; about a minute)", file=sys.stderr, flush=True)
    if ENVIRONMENT.exists():
        shutil.rmtree(ENVIRONMENT)
    venv = [PYTHON, "-m", "venv", str(ENVIRONMENT)]
    python = ENVIRONMENT / "bin" / "python"
    if subprocess.run(venv, capture_output=True, check=False).returncode == 0:
        pip = [str(python), "-m", "pip"]
    else:  # Debian's python3 without python3-venv has no ensurepip: this Python's pip can fill the environment as well
        subprocess.run([*venv, "--clear", "--without-pip"], check=True)
        pip = [PYTHON, "-m", "pip", "--python", str(python)]
    install = [*pip, "--disable-pip-version-check", "install", "--quiet"]
    subprocess.run([*install, "--require-hashes", "--requirement", str(lock)], check=True)
    subprocess.run([*install, "--no-deps", "--no-build-isolation", "--editable", str(ROOT)], check=True)


def become(program: Path, arguments: list[str]) -> NoReturn:
    """Replaces this process by `program`, which finds the rest of the environment on its PATH."""
    os.environ["PATH"] = f"{program.parent}{os.pathsep}{os.environ.get('PATH', '')}"
    os.execv(program, [str(program), *arguments])  # noqa: S606 - the command is the user's own


def main(arguments: list[str]) -> int:
    """Makes sure of the environment, then becomes the command."""
    development = arguments[:1] == ["--dev"]
    command = arguments[1:] if development else arguments
    if not command:
        print(__doc__, file=sys.stderr)
        return 2
    if sys.version_info < OLDEST_PYTHON:
        print(f"moorage needs Python 3.11 or newer; this is {sys.version.split()[0]}", file=sys.stderr)
        return 2
    locks = [ROOT / "deploy" / name for name in ("requirements-dev.lock", "requirements.lock")]
    acceptable = [fingerprint(lock) for lock in (locks[:1] if development else locks)]
    if not STAMP.exists() or STAMP.read_text() not in acceptable:
        try:
            make(locks[0] if development else locks[1])
        except (subprocess.CalledProcessError, OSError) as error:
            print(f"moorage: the environment could not be made: {error}", file=sys.stderr)
            return 2
        STAMP.write_text(acceptable[-1])
    program = ENVIRONMENT / "bin" / command[0]
    if not program.exists():
        print(f"moorage: there is no command {command[0]!r} in {ENVIRONMENT.name}", file=sys.stderr)
        return 2
    become(program, command[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
