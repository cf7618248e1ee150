"""Merges lists of tasks from several places into pages that neither repeat nor leave out a task. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from tasks.records import Record


class Page(NamedTuple):
    """Tasks, newest first, and the time before which the next page begins; None when there is none."""

    records: list[Record]
    next_before: float | None


def page_of(sources: Sequence[Sequence[Record]], keep: Callable[[Record], bool], limit: int) -> Page:
    """The newest `limit` records that `keep` accepts.

    Each source is newest first. One with `limit` records may have more, so nothing older than its last is shown before
    the next page: a page can be shorter than `limit`, even empty, and yet not be the last. Of records with one id the
    later source's is taken.
    """
    full = [source[-1].created_at for source in sources if len(source) == limit]
    known_since = max(full) if full else None
    merged = {record.task_id: record for source in sources for record in source}
    shown = [
        record
        for record in merged.values()
        if keep(record) and (known_since is None or record.created_at >= known_since)
    ]
    shown.sort(key=lambda record: record.created_at, reverse=True)
    if len(shown) > limit:
        return Page(shown[:limit], shown[limit - 1].created_at)
    return Page(shown, known_since)
