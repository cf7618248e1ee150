"""Paging over lists from several places: every task once, none left out, in whatever way they are spread."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from service.task_pages import page_of
from tasks.records import Record


def record(number: int, state: str = "SUCCESS") -> Record:
    return Record(
        task_id=str(number),
        owner="ann",
        actor="add",
        queue="upkeep",
        durable=False,
        created_at=float(number),
        state=state,  # type: ignore[arg-type]
    )


def newest(source: list[Record], before: float | None, limit: int) -> list[Record]:
    """What a place that holds `source` answers."""
    older = [found for found in source if before is None or found.created_at < before]
    return sorted(older, key=lambda found: -found.created_at)[:limit]


@given(st.sets(st.integers(0, 60)), st.sets(st.integers(0, 60)), st.sets(st.integers(0, 60)), st.integers(1, 7))
def test_walking_all_pages_gives_every_wanted_task_once(
    left: set[int], right: set[int], unwanted: set[int], limit: int
) -> None:
    first, second = [record(number) for number in left], [record(number) for number in right]
    walked: list[int] = []
    before, pages = None, 0
    while pages == 0 or before is not None:
        sources = [newest(first, before, limit), newest(second, before, limit)]
        page = page_of(sources, lambda found: int(found.created_at) not in unwanted, limit)
        assert len(page.records) <= limit
        assert before is None or page.next_before is None or page.next_before < before, "it moves on"
        walked += [int(found.created_at) for found in page.records]
        before, pages = page.next_before, pages + 1
    assert walked == sorted((left | right) - unwanted, reverse=True)


def test_the_later_sources_word_on_a_task_counts() -> None:
    page = page_of([[record(1, "FAILURE")], [record(1, "SUCCESS")]], lambda _: True, 5)
    assert [found.state for found in page.records] == ["SUCCESS"]
    assert page.next_before is None
