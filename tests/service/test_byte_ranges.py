"""The arithmetic of byte ranges, against slices of a real file."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.byte_ranges import parse
from service.errors import RangeNotSatisfiable


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("bytes=0-9", (0, 10)),
        ("bytes=0-0", (0, 1)),
        ("bytes=99-99", (99, 100)),
        ("bytes=90-", (90, 100)),
        ("bytes=0-", (0, 100)),
        ("bytes=-10", (90, 100)),
        ("bytes=-1000", (0, 100)),
        ("bytes=50-1000", (50, 100)),
        ("bytes=50-99999999999999999999", (50, 100)),
        ("bytes=-99999999999999999999", (0, 100)),
        ("bytes=50-" + "9" * 40, (50, 100)),
        ("bytes= 1-2 ", (1, 3)),
        ("bytes=0-9,20-29", None),
        ("bytes=9-0", None),
        ("bytes=-", None),
        ("bytes=", None),
        ("bytes=a-b", None),
        ("bytes=1-2-3", None),
        ("bytes=--5", None),
        ("bytes=0x1-2", None),
        ("items=0-9", None),
        ("0-9", None),
        ("bytes=" + "9" * 5000 + "-", None),
    ],
)
def test_a_header_asks_for_one_range_or_is_passed_over(header: str, found: tuple[int, int] | None) -> None:
    assert parse(header, 100) == found


@pytest.mark.parametrize(
    "header", ["bytes=100-", "bytes=100-200", "bytes=5000-", "bytes=-0", "bytes=99999999999999999999-"]
)
def test_a_range_past_the_end_cannot_be_satisfied(header: str) -> None:
    with pytest.raises(RangeNotSatisfiable) as caught:
        parse(header, 100)
    assert caught.value.size_bytes == 100


@pytest.mark.parametrize("header", ["bytes=0-", "bytes=0-0", "bytes=-1"])
def test_of_an_empty_file_no_range_can_be_satisfied(header: str) -> None:
    with pytest.raises(RangeNotSatisfiable):
        parse(header, 0)


@given(st.integers(0, 200), st.integers(0, 200), st.integers(1, 150))
def test_what_is_found_is_what_a_slice_would_give(first: int, last: int, size_bytes: int) -> None:
    data = bytes(size_bytes % 251 for size_bytes in range(size_bytes))
    try:
        found = parse(f"bytes={first}-{last}", size_bytes)
    except RangeNotSatisfiable:
        assert first >= size_bytes
        return
    if last < first:
        assert found is None
    else:
        assert found is not None
        assert data[slice(*found)] == data[first : last + 1]
