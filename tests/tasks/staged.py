"""What lies in a staging folder."""

from __future__ import annotations

from tasks.staging import Staging


def file_names(staging: Staging) -> list[str]:
    """The names of all files in it."""
    return sorted(path.name for path in staging.sealed_path("x").parent.iterdir())
