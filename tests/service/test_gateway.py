"""Reading back by CID, like a browser, a download manager, an IPFS client, and somebody who should not."""

from __future__ import annotations

import base64
import random

import httpx
import pytest

from tasks.stores.cid import CID
from tasks.stores.multibase import encode_base58btc
from tests.service.contents import leaf_cid
from tests.service.gateway_contents import problem, stored
from tests.service.raw_http import RawConnection
from tests.service.served import Served, served

MIB = 1 << 20
ABSENT = leaf_cid(b"nobody ever sent this")
SMALL = bytes(range(256)) * 4


@pytest.fixture
def small(edge: Served, ann: httpx.Client) -> str:
    return stored(edge, ann, SMALL)


@pytest.fixture(scope="module")
def big(edge: Served) -> tuple[str, bytes]:
    """A file of four leaves under one root."""
    data = random.Random(1).randbytes(3 * MIB + 12_345)
    with edge.client(edge.key("big")) as client:
        return stored(edge, client, data), data


def test_the_whole_content_comes_with_headers_that_keep_it_safe_and_cached(ann: httpx.Client, small: str) -> None:
    answer = ann.get(f"/ipfs/{small}")
    assert answer.content == SMALL
    wanted = {
        "content-length": "1024",
        "content-type": "application/octet-stream",
        "content-disposition": "inline",
        "accept-ranges": "bytes",
        "etag": f'"{small}"',
        "cache-control": "private, max-age=29030400, immutable",
        "x-ipfs-path": f"/ipfs/{small}",
        "x-ipfs-roots": small,
        "x-content-type-options": "nosniff",
        "content-security-policy": "sandbox",
    }
    assert {name: answer.headers.get(name) for name in wanted} == wanted


def test_a_file_of_many_blocks_comes_whole(ann: httpx.Client, big: tuple[str, bytes]) -> None:
    cid, data = big
    assert ann.get(f"/ipfs/{cid}").content == data


@pytest.mark.parametrize("size_bytes", [0, 1, 262_143, 262_144, 262_145, 600_000])
def test_the_legacy_profile_is_read_back_too(edge: Served, ann: httpx.Client, size_bytes: int) -> None:
    data = random.Random(size_bytes).randbytes(size_bytes)
    cid = stored(edge, ann, data, profile="unixfs-v0-2015")
    assert cid.startswith("Qm")
    answer = ann.get(f"/ipfs/{cid}")
    assert (answer.content, answer.headers["content-length"]) == (data, str(size_bytes))
    if size_bytes > 300_000:
        assert ann.get(f"/ipfs/{cid}", headers={"Range": "bytes=262140-262150"}).content == data[262140:262151]


def test_an_empty_file_is_content(edge: Served, ann: httpx.Client) -> None:
    cid = stored(edge, ann, b"")
    answer = ann.get(f"/ipfs/{cid}")
    assert (answer.status_code, answer.content, answer.headers["content-length"]) == (200, b"", "0")
    assert problem(ann.get(f"/ipfs/{cid}", headers={"Range": "bytes=0-"})) == (416, "range-not-satisfiable")


@pytest.mark.parametrize(
    ("header", "start", "stop"),
    [
        ("bytes=0-9", 0, 10),
        ("bytes=1048570-1048590", MIB - 6, MIB + 15),
        ("bytes=3000000-", 3_000_000, None),
        ("bytes=-7", -7, None),
        ("bytes=3158072-9999999", 3_158_072, None),
    ],
)
def test_a_range_is_that_part_of_the_file(
    ann: httpx.Client, big: tuple[str, bytes], header: str, start: int, stop: int | None
) -> None:
    cid, data = big
    answer = ann.get(f"/ipfs/{cid}", headers={"Range": header})
    first, last, _ = slice(start, stop).indices(len(data))
    assert answer.status_code == 206
    assert answer.content == data[start:stop]
    assert answer.headers["content-range"] == f"bytes {first}-{last - 1}/{len(data)}"
    assert answer.headers["content-length"] == str(last - first)


def test_a_range_past_the_end_says_how_long_the_content_is(ann: httpx.Client, small: str) -> None:
    answer = ann.get(f"/ipfs/{small}", headers={"Range": "bytes=1024-"})
    assert problem(answer) == (416, "range-not-satisfiable")
    assert answer.headers["content-range"] == "bytes */1024"


@pytest.mark.parametrize("header", ["bytes=0-1,5-6", "bytes=5-1", "lines=1-2", "nonsense", "bytes=é-"])
def test_ranges_that_are_many_or_malformed_give_the_whole(ann: httpx.Client, small: str, header: str) -> None:
    answer = ann.get(f"/ipfs/{small}", headers={b"Range": header.encode()})
    assert (answer.status_code, answer.content) == (200, SMALL)


def test_if_range_asks_for_the_whole_when_it_is_another_file(ann: httpx.Client, small: str) -> None:
    for tag, status in ((f'"{small}"', 206), ('"other"', 200), (f'W/"{small}"', 200)):
        answer = ann.get(f"/ipfs/{small}", headers={"Range": "bytes=0-0", "If-Range": tag})
        assert answer.status_code == status, tag


def test_head_says_what_get_would_and_sends_nothing(edge: Served, ann: httpx.Client, small: str) -> None:
    got, asked = ann.get(f"/ipfs/{small}"), ann.head(f"/ipfs/{small}")
    passing = {"date", "x-request-id"}
    assert {k: v for k, v in asked.headers.items() if k not in passing} == {
        k: v for k, v in got.headers.items() if k not in passing
    }
    with RawConnection(edge.url) as connection:
        connection.head("HEAD", f"/ipfs/{small}", X_API_Key=ann.headers["X-API-Key"], Connection="close")
        assert connection.received().endswith(b"\r\n\r\n")
    assert ann.head(f"/ipfs/{small}", headers={"Range": "bytes=0-9"}).status_code == 200
    assert ann.head(f"/ipfs/{ABSENT}").status_code == 404


def test_what_the_client_has_is_not_sent_again(ann: httpx.Client, small: str) -> None:
    for tags in (f'"{small}"', f'W/"{small}"', f'"x", "{small}"', "*"):
        answer = ann.get(f"/ipfs/{small}", headers={"If-None-Match": tags})
        assert (answer.status_code, answer.content) == (304, b""), tags
        assert answer.headers["etag"] == f'"{small}"'
    for tags in ('"other"', f'"{small}.raw"', small):
        assert ann.get(f"/ipfs/{small}", headers={"If-None-Match": tags}).status_code == 200, tags


def test_what_nobody_has_is_not_unchanged(ann: httpx.Client) -> None:
    for tags in ("*", f'"{ABSENT}"'):
        answer = ann.get(f"/ipfs/{ABSENT}", headers={"If-None-Match": tags})
        assert problem(answer) == (404, "content-not-found")


def test_raw_gives_the_block_itself(edge: Served, ann: httpx.Client, small: str, big: tuple[str, bytes]) -> None:
    leaf, root = ann.get(f"/ipfs/{small}?format=raw"), ann.get(f"/ipfs/{big[0]}?format=raw")
    assert leaf.content == SMALL
    assert root.content == edge.run(edge.parts.store.read_block(CID.parse(big[0])))
    assert len(root.content) < 1000
    for answer, cid in ((leaf, small), (root, big[0])):
        assert answer.headers["content-type"] == "application/vnd.ipld.raw"
        assert answer.headers["content-disposition"] == f'attachment; filename="{cid}.bin"'
        assert answer.headers["etag"] == f'"{cid}.raw"'
    accept = {"Accept": "application/vnd.ipld.raw"}
    assert ann.get(f"/ipfs/{small}", headers=accept).headers["etag"] == f'"{small}.raw"'
    assert ann.get(f"/ipfs/{small}?format=raw", headers={"If-None-Match": f'"{small}.raw"'}).status_code == 304
    assert ann.head(f"/ipfs/{small}?format=raw").headers["content-length"] == "1024"


def test_a_format_nobody_knows_is_not_acceptable(ann: httpx.Client, small: str) -> None:
    for form in ("dag-json", "car", "", "raw2"):
        assert problem(ann.get(f"/ipfs/{small}?format={form}")) == (406, "unsupported-format")


def test_a_cid_is_known_in_every_base(ann: httpx.Client, small: str) -> None:
    binary = CID.parse(small).to_bytes()
    spelled = [small.upper(), "f" + binary.hex(), "F" + binary.hex().upper(), "z" + encode_base58btc(binary)]
    spelled.append("u" + base64.urlsafe_b64encode(binary).rstrip(b"=").decode())
    for text in spelled:
        answer = ann.get(f"/ipfs/{text}")
        assert (answer.content, answer.headers["etag"]) == (SMALL, f'"{small}"'), text


def test_a_version_0_cid_is_the_version_1_cid_of_the_same_block(edge: Served, ann: httpx.Client) -> None:
    version_0 = stored(edge, ann, b"legacy", profile="unixfs-v0-2015")
    version_1 = CID(1, 0x70, CID.parse(version_0).multihash)
    assert ann.get(f"/ipfs/{version_1}").content == b"legacy"


@pytest.mark.parametrize(
    "text", ["nope", "Qm", "b", "bafy", "x" * 600, "%00", "..", "%2e%2e%2fetc%2fpasswd", "ba%C3%A9", "' OR 1=1 --"]
)
def test_what_is_no_cid_is_refused(edge: Served, ann: httpx.Client, text: str) -> None:
    with RawConnection(edge.url) as connection:
        path = f"/ipfs/{text.replace(' ', '%20').replace('..', '%2e%2e')}"
        connection.head("GET", path, X_API_Key=ann.headers["X-API-Key"])
        answer = connection.answer()
    assert (answer.status, answer.problem) == (400, "invalid-cid")


def test_what_is_not_stored_and_what_lies_below_a_file_is_not_found(ann: httpx.Client, small: str) -> None:
    for path in (ABSENT, f"{small}/below", f"{small}/a/b", f"{small}/..%2f..%2fcatalog.sqlite"):
        assert problem(ann.get(f"/ipfs/{path}")) == (404, "content-not-found")


def test_a_name_asked_for_is_the_name_of_the_download_and_decides_its_type(ann: httpx.Client, small: str) -> None:
    answer = ann.get(f"/ipfs/{small}", params={"filename": "naïve\r\nX-Evil: 1.html", "download": "true"})
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''na%C3%AFve%0D%0AX-Evil%3A%201.html"
    assert answer.headers["content-type"].startswith("text/html")
    assert "x-evil" not in answer.headers
    assert ann.get(f"/ipfs/{small}?download=true").headers["content-disposition"] == "attachment"


def test_content_has_the_type_its_reader_gave_it_and_no_one_elses(
    edge: Served, ann: httpx.Client, bob: httpx.Client
) -> None:
    data = random.Random(7).randbytes(100)
    cid = stored(edge, ann, data, "picture.png")
    assert ann.get(f"/ipfs/{cid}").headers["content-type"] == "image/png"
    assert bob.get(f"/ipfs/{cid}").headers["content-type"] == "application/octet-stream"
    assert bob.get(f"/ipfs/{cid}").content == data, "who knows a CID may read it"


def test_reading_takes_a_key_with_the_scope_read(edge: Served, small: str) -> None:
    with edge.client() as anyone, edge.client(edge.key("carl", "upload")) as uploader:
        assert problem(anyone.get(f"/ipfs/{small}")) == (401, "unauthenticated")
        assert problem(uploader.get(f"/ipfs/{small}")) == (403, "forbidden")
    with edge.client(edge.key("carl", "read")) as reader:
        assert reader.get(f"/ipfs/{small}").content == SMALL


def test_a_public_gateway_serves_anyone_and_lets_caches_share(edge: Served, small: str) -> None:
    with served(edge.parts.settings, gateway="public") as public, public.client() as anyone:
        answer = anyone.get(f"/ipfs/{small}")
        assert answer.content == SMALL
        assert answer.headers["cache-control"] == "public, max-age=29030400, immutable"
        assert anyone.get("/tasks").status_code == 401
