"""Spares a process that makes many short-lived objects most of the work of Python's garbage collector."""

from __future__ import annotations

import gc

THRESHOLDS = (10_000, 10, 10)


def spare() -> None:
    """Takes what was imported out of the collector's sight, and has it look ten times less often: walking all that
    again and again costs a busy process up to a third of its rate."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
