"""A virtual environment for each peer, made when a benchmark first wants it and kept in the user's cache folder.

The peers are no dependencies of the project. Each has its own environment, so that none is held back to a release
that another can live with.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

PEERS = Path(__file__).parent / "peers"


def interpreter(peer: str) -> Path:
    """The Python that has the releases `peers/<peer>.requirements.txt` names; Celery and Moorage are here."""
    if peer in {"celery", "moorage"}:
        return Path(sys.executable)
    pins = PEERS / f"{peer}.requirements.txt"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "moorage-benchmarks" / f"{peer}-{hashlib.sha256(pins.read_bytes()).hexdigest()[:12]}"
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        print(f"installing {peer} into {folder} …", file=sys.stderr)
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "--no-deps", "-r", str(pins)], check=True)
        (folder / "complete").touch()
    return python
