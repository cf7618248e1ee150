"""How much memory a process holds right now, read for the price of one small file."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024
_MAXIMUM_UNIT_BYTES = 1 if sys.platform == "darwin" else 1024


def resident_kib(pid: int | None = None) -> int:
    """Resident memory of a process, or of this one, in KiB; 0 when it cannot be told.

    Linux says what is held now. Elsewhere only this process can be asked, and answers with the most it ever held.
    """
    try:
        statm = Path(f"/proc/{pid or 'self'}/statm").read_bytes()
    except OSError:
        if pid is not None:
            return 0
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MAXIMUM_UNIT_BYTES // 1024
    return int(statm.split()[1]) * PAGE_KIB
