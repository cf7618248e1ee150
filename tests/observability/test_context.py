"""Only the listed words travel, as short text, whoever wrote them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog

from observability import context


@pytest.fixture(autouse=True)
def empty_context() -> Iterator[None]:
    context.clear()
    yield
    context.clear()


def test_only_the_listed_words_are_captured() -> None:
    structlog.contextvars.bind_contextvars(request_id="r", owner_id="o", path="/secret", attempt=2)

    assert context.capture() == {"request_id": "r", "owner_id": "o"}


def test_an_attempt_s_words_are_captured_too_and_end_with_it() -> None:
    context.bind({"request_id": "before"})
    context.begin_attempt({"request_id": "r", "task_id": "t"})

    assert context.capture() == {"request_id": "r"}
    assert context.merge(None, "info", {"task_id": "other"}) == {"request_id": "r", "task_id": "other"}
    context.clear()
    assert context.capture() == context.merge(None, "info", {}) == {}


def test_only_short_text_is_bound() -> None:
    context.bind({"request_id": "r", "owner_id": "x" * 257, "traceparent": "", "password": "p"})

    assert structlog.contextvars.get_contextvars() == {"request_id": "r"}


@pytest.mark.parametrize("words", [None, "request_id", 7, ["request_id"], {"request_id": {"a": 1}}])
def test_words_of_another_shape_are_none(words: object) -> None:
    assert context.select(words) == {}


def test_headers_get_the_context_and_the_time_of_sending() -> None:
    context.bind({"request_id": "r"})
    headers: dict[str, object] = {"id": "t"}

    context.write_headers(headers, now=5.0)

    assert headers == {"id": "t", "moorage_context": {"request_id": "r"}, "enqueued_at": 5.0}


def test_headers_that_are_there_already_are_kept() -> None:
    context.bind({"request_id": "mine"})
    headers: dict[str, object] = {"moorage_context": {"request_id": "theirs"}, "enqueued_at": 1.0}

    context.write_headers(headers, now=5.0)

    assert headers == {"moorage_context": {"request_id": "theirs"}, "enqueued_at": 1.0}


def test_a_retry_keeps_its_context_and_waits_anew() -> None:
    headers: dict[str, object] = {"moorage_context": {"request_id": "r"}, "enqueued_at": 1.0, "retries": 1}

    context.write_headers(headers, now=5.0)

    assert headers == {"moorage_context": {"request_id": "r"}, "enqueued_at": 5.0, "retries": 1}
