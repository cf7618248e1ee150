"""Names and types from what a client said: hypotheses no client should be able to break."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from service.errors import BadUpload
from service.naming import LONGEST_NAME, checked_name, name_in, type_of


@given(st.text())
def test_a_checked_name_is_the_name_itself_on_one_line(text: str) -> None:
    try:
        name = checked_name(text)
    except BadUpload:
        return
    assert name == text
    assert 0 < len(name) <= LONGEST_NAME
    assert len(name.splitlines()) == 1
    name.encode()


@given(st.text(alphabet=st.characters(max_codepoint=255)))
def test_no_content_disposition_breaks_anything(header: str) -> None:
    name_in(header)
    name_in(f"attachment; {header}")
    name_in(f"attachment; filename*=UTF-8''{header}")


@given(st.text(), st.text())
def test_a_type_can_always_be_said_in_a_header(said: str, filename: str) -> None:
    found = type_of(said, filename)
    assert found.isascii()
    assert found.isprintable()
    assert "/" in found
