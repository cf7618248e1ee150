"""Uploads as clients send them: what is accepted is kept byte for byte, what is refused leaves nothing."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from tests.service.contents import leaf_cid
from tests.service.raw_http import RawConnection
from tests.service.served import Served

TASK_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
CURL = ("curl", "--silent", "--show-error", "--max-time", "30")


def accepted(answer: httpx.Response) -> dict[str, object]:
    assert answer.status_code == 202, answer.text
    body: dict[str, object] = answer.json()
    assert TASK_ID.fullmatch(str(body["task_id"]))
    assert answer.headers["location"] == f"/api/v1/tasks/{body['task_id']}"
    assert body["status_url"] == f"/api/v1/tasks/{body['task_id']}/status"
    assert body["state"] == "PENDING"
    return body


def kept_bytes(edge: Served, body: dict[str, object]) -> bytes:
    return edge.parts.staging.sealed_path(str(body["task_id"])).read_bytes()


def problem(answer: httpx.Response) -> str:
    assert answer.headers["content-type"] == "application/problem+json"
    kind: str = answer.json()["type"]
    return kind.removeprefix("urn:moorage:problem:")


@pytest.fixture
def nothing_left(edge: Served) -> Iterator[None]:
    """Holds that the test leaves no task and no file behind."""
    tasks, names = edge.task_ids(), edge.staged_names()
    yield
    assert edge.task_ids() == tasks
    assert edge.staged_names() == names


def test_a_raw_body_is_kept_as_it_came(edge: Served, ann: httpx.Client) -> None:
    body = accepted(ann.post("/api/v1/uploads?filename=notes.txt", content=b"\x00hello\xff"))
    assert (body["filename"], body["size_bytes"]) == ("notes.txt", 7)
    assert kept_bytes(edge, body) == b"\x00hello\xff"


def test_an_upload_is_done_and_read_back(edge: Served, ann: httpx.Client) -> None:
    body = accepted(ann.put("/api/v1/uploads/a.html", content=b"<p>hello</p>"))
    edge.work_off(str(body["task_id"]))
    result = ann.get(f"/tasks/{body['task_id']}/result").json()["result"]
    assert result == {
        "cid": leaf_cid(b"<p>hello</p>"),
        "filename": "a.html",
        "size_bytes": 12,
        "content_type": "text/html",
        "profile": "unixfs-v1-2025",
    }
    assert ann.get(f"/ipfs/{result['cid']}").content == b"<p>hello</p>"


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        ({}, "upload.bin"),
        ({"Content-Disposition": 'attachment; filename="a b.txt"'}, "a b.txt"),
        ({"Content-Disposition": "attachment; filename=a.txt"}, "a.txt"),
        ({"Content-Disposition": "attachment; filename=\"plain\"; filename*=UTF-8''na%C3%AFve.txt"}, "naïve.txt"),
        ({"Content-Disposition": 'attachment; filename="naïve.txt"'.encode()}, "naïve.txt"),
        ({"Content-Disposition": 'attachment; filename="naïve.txt"'.encode("latin-1")}, "naïve.txt"),
        ({"Content-Disposition": "attachment"}, "upload.bin"),
        ({"Content-Disposition": ';;=";"'}, "upload.bin"),
        ({"Content-Disposition": 'attachment; filename="../../etc/passwd"'}, "../../etc/passwd"),
    ],
)
def test_a_raw_post_takes_its_name_from_content_disposition(
    ann: httpx.Client, sent: dict[str, str | bytes], name: str
) -> None:
    headers = [(key, value if isinstance(value, bytes) else value.encode()) for key, value in sent.items()]
    answer = ann.post("/api/v1/uploads", content=b"x", headers=[(key.encode(), value) for key, value in headers])
    assert accepted(answer)["filename"] == name


def test_the_query_names_a_raw_post_before_its_headers_do(ann: httpx.Client) -> None:
    headers = {"Content-Disposition": 'attachment; filename="b.txt"'}
    answer = ann.post("/api/v1/uploads", params={"filename": "a.txt"}, content=b"x", headers=headers)
    assert accepted(answer)["filename"] == "a.txt"


@pytest.mark.parametrize(
    "name", ["a.iso", "../../etc/passwd", "/etc/passwd", "..", ".", "a/b", "日本語.txt", "a%2fb", "a'b\";c", "x" * 255]
)
def test_a_put_takes_any_name_as_data(edge: Served, ann: httpx.Client, name: str) -> None:
    with RawConnection(edge.url) as connection:
        path = f"/api/v1/uploads/{quote(name, safe='').replace('.', '%2e')}"
        connection.head("PUT", path, X_API_Key=ann.headers["X-API-Key"], Content_Length=1)
        connection.send(b"x")
        answer = connection.answer()
    assert answer.status == 202, answer.body
    assert httpx.Response(202, content=answer.body).json()["filename"] == name.removeprefix("/")


def test_a_put_without_a_name_is_named(ann: httpx.Client) -> None:
    for path in ("/api/v1/uploads", "/api/v1/uploads/"):
        assert accepted(ann.put(path, content=b"x"))["filename"] == "upload.bin"


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("name", ["x" * 256, "a\nb", "a\x00b", "a\x7fb", "a\x85b", "a\u2028b"])
def test_names_that_fit_no_line_are_refused(ann: httpx.Client, name: str) -> None:
    answer = ann.put(f"/api/v1/uploads/{quote(name)}", content=b"x")
    assert (answer.status_code, problem(answer)) == (400, "bad-upload")


def test_no_file_is_ever_written_under_a_name_of_the_client(edge: Served, ann: httpx.Client) -> None:
    outside = edge.parts.settings.data.parent
    before = {path for path in outside.iterdir() if path != edge.parts.settings.data}
    for name in ("..%2f..%2fout", "%2e%2e%2fout", "%2ftmp%2fout", "a%2f..%2f..%2fout"):
        accepted(ann.put(f"/api/v1/uploads/{name}", content=b"x"))
    assert {path for path in outside.iterdir() if path != edge.parts.settings.data} == before
    assert all(re.fullmatch(rf"{TASK_ID.pattern}\.sealed", name) for name in edge.staged_names())
    assert not [path for path in edge.parts.settings.data.rglob("*") if "out" in path.name]


@pytest.mark.parametrize(
    ("name", "said", "kept"),
    [
        ("a.png", "", "image/png"),
        ("a.png", "application/octet-stream", "image/png"),
        ("a.png", "application/x-www-form-urlencoded", "image/png"),
        ("a.png", "text/plain; charset=utf-8", "text/plain; charset=utf-8"),
        ("a.unheard-of", "", "application/octet-stream"),
        ("a.png", "nonsense", "image/png"),
        ("a.png", "text/" + "x" * 300, "image/png"),
    ],
)
def test_a_type_is_guessed_by_the_name_unless_it_is_said(
    edge: Served, ann: httpx.Client, name: str, said: str, kept: str
) -> None:
    headers = {"Content-Type": said} if said else {}
    body = accepted(ann.put(f"/api/v1/uploads/{name}", content=b"x", headers=headers))
    edge.work_off(str(body["task_id"]))
    assert ann.get(f"/tasks/{body['task_id']}").json()["result"]["content_type"] == kept


def test_the_legacy_profile_gives_the_legacy_cid(edge: Served, ann: httpx.Client) -> None:
    body = accepted(ann.put("/api/v1/uploads/empty?profile=unixfs-v0-2015", content=b""))
    edge.work_off(str(body["task_id"]))
    result = ann.get(f"/tasks/{body['task_id']}").json()["result"]
    assert (result["cid"], result["profile"]) == ("QmbFMke1KXqnYyBBWxB74N4c5SBnJMVAiMNRcGu6x1AwQH", "unixfs-v0-2015")


@pytest.mark.usefixtures("nothing_left")
def test_an_unknown_profile_is_refused(ann: httpx.Client) -> None:
    answer = ann.put("/api/v1/uploads/a?profile=unixfs-v9", content=b"x")
    assert (answer.status_code, problem(answer)) == (400, "bad-request")
    assert "profile" in answer.json()["detail"]


def test_an_empty_body_is_a_file(edge: Served, ann: httpx.Client) -> None:
    for answer in (ann.post("/api/v1/uploads"), ann.put("/api/v1/uploads/a", content=b"")):
        body = accepted(answer)
        assert body["size_bytes"] == 0
        assert kept_bytes(edge, body) == b""


def test_a_chunked_body_needs_no_length(edge: Served, ann: httpx.Client) -> None:
    pieces = [bytes([number]) * 70_000 for number in range(80)]
    body = accepted(ann.put("/api/v1/uploads/a", content=iter(pieces)))
    assert body["size_bytes"] == 80 * 70_000
    assert kept_bytes(edge, body) == b"".join(pieces)


def test_a_body_that_comes_byte_by_byte_is_kept(edge: Served, ann: httpx.Client) -> None:
    with RawConnection(edge.url) as connection:
        connection.head("PUT", "/api/v1/uploads/a", X_API_Key=ann.headers["X-API-Key"], Content_Length=50)
        for number in range(50):
            connection.send(bytes([number]))
        answer = connection.answer()
    assert kept_bytes(edge, httpx.Response(202, content=answer.body).json()) == bytes(range(50))


def test_curl_sends_a_file_in_one_round_trip(edge: Served, ann: httpx.Client, tmp_path: Path) -> None:
    file = tmp_path / "big file.bin"
    file.write_bytes(bytes(3_000_000))
    key = f"X-API-Key: {ann.headers['X-API-Key']}"
    written = "%{http_code} %{num_redirects} %{num_connects} %{size_upload}"
    ran = subprocess.run(
        [*CURL, "-T", file, "-H", key, "-o", tmp_path / "answer", "-w", written, f"{edge.url}/api/v1/uploads/"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout == "202 0 1 3000000"
    body = httpx.Response(202, content=(tmp_path / "answer").read_bytes()).json()
    assert body["filename"] == "big file.bin"
    assert kept_bytes(edge, body) == bytes(3_000_000)


def test_curl_sends_standard_input(edge: Served, ann: httpx.Client) -> None:
    key = f"X-API-Key: {ann.headers['X-API-Key']}"
    ran = subprocess.run(
        [*CURL, "-T", "-", "-H", key, f"{edge.url}/api/v1/uploads/piped.txt"],
        input=b"through a pipe",
        capture_output=True,
        check=True,
    )
    body = httpx.Response(202, content=ran.stdout).json()
    assert kept_bytes(edge, body) == b"through a pipe"
