"""Heads without an end: refused and hung up on at 64 KiB, while anything else may be as large as it likes."""

from __future__ import annotations

import contextlib

import httpx

from service.bounded_headers import MOST_HEAD_BYTES
from tests.service.raw_http import RawConnection
from tests.service.served import Served

BEGINNING = b"GET /livez HTTP/1.1\r\nHost: moorage\r\nX: "


def filled_to(size_bytes: int, beginning: bytes = BEGINNING) -> bytes:
    return beginning + b"x" * (size_bytes - len(beginning))


def test_a_head_of_just_the_limit_is_taken_in_two_pieces(edge: Served) -> None:
    with RawConnection(edge.url) as connection:
        connection.send(filled_to(MOST_HEAD_BYTES))
        connection.send(b"\r\n\r\n")
        assert connection.answer().status == 200


def test_a_head_that_does_not_end_is_refused_and_the_connection_closed(edge: Served) -> None:
    for beginning in (BEGINNING, b"GET /", b"GET /livez HTTP/1.1\r\n" + b"X: y\r\n" * 1000):
        with RawConnection(edge.url) as connection:
            connection.send(filled_to(MOST_HEAD_BYTES + 1, beginning))
            answer = connection.answer()
            assert (answer.status, answer.problem) == (431, "headers-too-large")
            assert connection.received() == b""


def test_the_next_head_on_a_connection_is_bounded_too(edge: Served) -> None:
    with RawConnection(edge.url) as connection:
        for _ in range(3):
            connection.head("GET", "/livez")
            assert connection.answer().status == 200
        connection.send(filled_to(MOST_HEAD_BYTES + 1))
        assert connection.answer().status == 431


def test_many_heads_on_a_connection_do_not_add_up(edge: Served) -> None:
    with RawConnection(edge.url) as connection:
        for _ in range(10):
            connection.send(filled_to(MOST_HEAD_BYTES // 4))
            connection.send(b"\r\n\r\n")
            assert connection.answer().status == 200


def test_trailers_that_do_not_end_are_hung_up_on(edge: Served) -> None:
    with RawConnection(edge.url) as connection:
        connection.head("GET", "/livez", Transfer_Encoding="chunked")
        assert connection.answer().status == 200
        connection.send(b"0\r\nX: ")
        connection.send(b"x" * (MOST_HEAD_BYTES + 1))
        connection.received()


def test_an_answer_under_way_is_not_mixed_with_the_refusal(edge: Served, ann: httpx.Client) -> None:
    key = ann.headers["X-API-Key"]
    with RawConnection(edge.url) as connection:
        connection.head("PUT", "/api/v1/uploads/a", X_API_Key=key, Transfer_Encoding="chunked")
        connection.chunk(b"hello")
        with contextlib.suppress(ConnectionError):  # what comes in one piece with the body is not yet counted
            connection.send(b"0\r\nX: " + b"x" * (32 * MOST_HEAD_BYTES))
        assert b"431" not in connection.received()


def test_a_body_is_not_taken_for_a_head(ann: httpx.Client) -> None:
    data = bytes(8 * MOST_HEAD_BYTES)
    for content in (data, iter([data])):
        assert ann.put("/api/v1/uploads/a", content=content).status_code == 202
