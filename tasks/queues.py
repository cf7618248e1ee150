"""Every queue work can wait in, in one table. A queue nobody consumes is a place where work is lost."""

from __future__ import annotations

UPLOAD = "upload"
"""Turning staged uploads into content."""
PINNING = "pinning"
"""Keeping content that lives elsewhere."""
UPKEEP = "upkeep"
"""Work that nobody depends on: the diagnostics."""
SCHEDULE = "schedule"
"""The schedule's jobs. Give it a worker of its own: what mends lost work must not wait behind work."""

QUEUES = (UPLOAD, PINNING, UPKEEP, SCHEDULE)
