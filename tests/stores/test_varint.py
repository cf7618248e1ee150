"""Varints are read in their shortest form only."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.stores import varint


@given(st.integers(0, 2**63 - 1), st.binary(max_size=4), st.binary(max_size=4))
def test_a_number_comes_back_with_the_offset_after_it(value: int, before: bytes, after: bytes) -> None:
    encoded = varint.encode(value)
    assert varint.decode(before + encoded + after, len(before)) == (value, len(before) + len(encoded))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "cut off"),
        (b"\x80", "cut off"),
        (b"\x80\x00", "shortest form"),
        (b"\xff\x80\x00", "shortest form"),
        (b"\xff" * 9 + b"\x01", "longer than nine bytes"),
    ],
)
def test_malformed_numbers_are_refused(data: bytes, reason: str) -> None:
    with pytest.raises(varint.MalformedVarint, match=reason):
        varint.decode(data, 0)


@pytest.mark.parametrize("value", [-1, 2**63])
def test_numbers_that_do_not_fit_are_refused(value: int) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        varint.encode(value)
