"""Forms with a file: one is taken out whole, however the body is cut; anything else is refused in words."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable

import httpx
import pytest

from service.errors import BadUpload
from service.multipart_body import MOST_OTHER_BYTES, FilePart, boundary_of, file_pieces
from tests.service.raw_http import RawConnection
from tests.service.served import Served

FIELD = b'--b\r\nContent-Disposition: form-data; name="note"\r\n\r\nhello\r\n'
FILE_HEAD = (
    b'--b\r\nContent-Disposition: form-data; name="f"; filename="a.txt"\r\n'
    b"Content-Type: text/plain; charset=utf-8\r\n\r\n"
)
CONTENT = b"one\r\n--not the boundary\r\n\r\n--\r\n-\x00\xff"
END = b"\r\n--b--\r\n"
FORM = FIELD + FILE_HEAD + CONTENT + b"\r\n" + FIELD + END[2:]
TYPE = "multipart/form-data; boundary=b"


async def streamed(pieces: Iterable[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def taken_out(pieces: Iterable[bytes]) -> tuple[bytes, FilePart]:
    part = FilePart()
    return b"".join([piece async for piece in file_pieces(streamed(pieces), "b", part)]), part


async def test_the_file_is_found_between_fields() -> None:
    data, part = await taken_out([FORM])
    assert data == CONTENT
    assert part == FilePart("a.txt", "text/plain; charset=utf-8", True)


async def test_it_does_not_matter_where_the_body_is_cut() -> None:
    for cut in range(1, len(FORM)):
        data, _ = await taken_out([FORM[:cut], FORM[cut:]])
        assert data == CONTENT, f"cut at {cut}"
    data, _ = await taken_out(bytes([byte]) for byte in FORM)
    assert data == CONTENT


async def test_an_empty_file_is_a_file() -> None:
    data, part = await taken_out([FILE_HEAD + END])
    assert (data, part.filename) == (b"", "a.txt")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (FIELD + END[2:], "no file"),
        (b"--b--\r\n", "no file"),
        (FILE_HEAD + CONTENT + b"\r\n" + FILE_HEAD + CONTENT + END, "more than one file"),
        (FILE_HEAD.replace(b"a.txt", b"") + END, "no file"),
        (FILE_HEAD + CONTENT, "cannot be read"),
        (FORM[:-6], "cannot be read"),
        (b"", "cannot be read"),
        (b"hello", "cannot be read"),
        (b"--b\r\nno head\r\n\r\n", "cannot be read"),
        (b"--b\r\nX: " + b"x" * 10_000, "cannot be read"),
        (b"--b\r\n" + b"X: y\r\n" * 100 + b"\r\n", "cannot be read"),
        (FILE_HEAD.replace(b"a.txt", b"\xff"), "cannot be read"),
        (FIELD * 100 + END[2:], "more than 32 parts"),
        (FIELD.replace(b"hello", b"x" * (MOST_OTHER_BYTES + 1)) + FORM, "beside its file"),
        (FORM + b"x" * MOST_OTHER_BYTES, "beside its file"),
    ],
)
async def test_what_is_no_form_with_one_file_is_refused_in_words(body: bytes, reason: str) -> None:
    with pytest.raises(BadUpload) as caught:
        await taken_out([body[at : at + 65_536] for at in range(0, len(body), 65_536)])
    assert reason in caught.value.reason


@pytest.mark.parametrize("head", [b"X: \xff\r\n", b'Content-Disposition: form-data; name="\xff"\r\n', b"X\xffY\r\n"])
async def test_what_is_said_of_a_malformed_form_holds_nothing_of_it(head: bytes) -> None:
    with pytest.raises(BadUpload) as caught:
        await taken_out([b"--b\r\n" + head + b"\r\n" + END])
    wanted = "The multipart body cannot be read: it is malformed or was cut off; let your client build the form."
    assert caught.value.reason == wanted


def test_a_form_without_a_boundary_is_refused() -> None:
    for content_type in ("multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary"):
        with pytest.raises(BadUpload):
            boundary_of(content_type)
    assert boundary_of('multipart/form-data; boundary="a b"') == "a b"


def test_a_form_is_accepted_with_its_fields_passed_over(edge: Served, ann: httpx.Client) -> None:
    files = {"f": ("naïve.txt", b"hello", "text/x-notes")}
    answer = ann.post("/api/v1/uploads", data={"before": "1"}, files=files)
    assert answer.status_code == 202, answer.text
    body = answer.json()
    assert (body["filename"], body["size_bytes"]) == ("naïve.txt", 5)
    assert edge.parts.staging.sealed_path(body["task_id"]).read_bytes() == b"hello"


def test_a_form_whose_type_no_header_can_hold_is_typed_by_its_name(edge: Served, ann: httpx.Client) -> None:
    body = FILE_HEAD.replace(b"text/plain; charset=utf-8", "text/плейн".encode()) + b"hello" + END
    answer = ann.post("/api/v1/uploads", content=body, headers={"Content-Type": TYPE})
    task_id = answer.json()["task_id"]
    edge.work_off(task_id)
    result = ann.get(f"/tasks/{task_id}/result").json()["result"]
    assert result["content_type"] == "text/plain"
    assert ann.get(f"/ipfs/{result['cid']}").headers["content-type"].startswith("text/plain")


def test_a_refused_form_leaves_nothing(edge: Served, ann: httpx.Client) -> None:
    tasks, names = edge.task_ids(), edge.staged_names()
    for body in (FIELD + END[2:], FILE_HEAD + CONTENT + b"\r\n" + FILE_HEAD + CONTENT + END, FORM[:-6], b"x"):
        answer = ann.post("/api/v1/uploads", content=body, headers={"Content-Type": TYPE})
        assert (answer.status_code, answer.json()["type"]) == (400, "urn:moorage:problem:bad-upload")
    assert (edge.task_ids(), edge.staged_names()) == (tasks, names)


def test_a_boundary_that_is_cut_by_chunks_is_found(edge: Served, ann: httpx.Client) -> None:
    with RawConnection(edge.url) as connection:
        key = ann.headers["X-API-Key"]
        connection.head("POST", "/api/v1/uploads", X_API_Key=key, Content_Type=TYPE, Transfer_Encoding="chunked")
        for byte in FORM:
            connection.chunk(bytes([byte]))
        connection.chunk(b"")
        answer = connection.answer()
    assert answer.status == 202, answer.body
    task_id = httpx.Response(202, content=answer.body).json()["task_id"]
    assert edge.parts.staging.sealed_path(task_id).read_bytes() == CONTENT
