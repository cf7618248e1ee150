"""Every queue work can wait in, in one table. A queue nobody consumes is a place where work is lost."""

from __future__ import annotations

UPLOAD = "upload"
"""Turning staged uploads into content."""
PINNING = "pinning"
"""Keeping content that lives elsewhere."""
UPKEEP = "upkeep"
"""The schedule's jobs and the diagnostics."""

QUEUES = (UPLOAD, PINNING, UPKEEP)
