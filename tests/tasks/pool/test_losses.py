"""The header that counts the deaths of a message's holders is read from what anybody may have written."""

from __future__ import annotations

import pytest

from tasks.pool.losses import losses_in
from tasks.runner import Delivery


@pytest.mark.parametrize("written", ["many", "3", None, -1, True, 2.5, [3], {"a": 1}])
def test_what_is_no_count_is_read_as_none(written: object) -> None:
    headers = {"id": "a", "x-losses": written}
    assert losses_in(headers) == 0
    assert Delivery.of(headers).losses == 0


@pytest.mark.parametrize("written", ["text", 7, [1], None])
def test_what_is_no_context_is_read_as_an_empty_one(written: object) -> None:
    assert Delivery.of({"id": "a", "moorage_context": written}).context == {}


def test_a_header_of_a_users_own_is_not_taken_for_ours() -> None:
    assert losses_in({"losses": 3}) == 0


def test_a_count_is_read() -> None:
    headers = {"id": "a", "x-losses": 3}
    assert losses_in(headers) == Delivery.of(headers).losses == 3
