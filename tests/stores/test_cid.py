"""CIDs: text and bytes round, canonical text, and helpful refusals."""

from __future__ import annotations

import pickle
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import InvalidCID
from tasks.stores import multibase, varint
from tasks.stores.cid import CID, DAG_PB, RAW
from tasks.stores.multihash import MAX_DIGEST_BYTES

V0 = "QmbFMke1KXqnYyBBWxB74N4c5SBnJMVAiMNRcGu6x1AwQH"
V1 = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"


@st.composite
def multihashes(draw: st.DrawFn) -> bytes:
    code = draw(st.integers(0, 2**63 - 1))
    digest = draw(st.binary(max_size=MAX_DIGEST_BYTES))
    return varint.encode(code) + varint.encode(len(digest)) + digest


version_0 = st.binary(min_size=32, max_size=32).map(lambda digest: CID(0, DAG_PB, b"\x12\x20" + digest))
version_1 = st.builds(CID, st.just(1), st.integers(0, 2**63 - 1), multihashes())


@given(version_0 | version_1)
def test_canonical_text_and_bytes_give_the_same_cid_back(cid: CID) -> None:
    assert CID.parse(str(cid)) == cid
    assert CID.from_bytes(cid.to_bytes()) == cid


@given(version_1, st.sampled_from(sorted(multibase.NAMES)))
def test_every_base_gives_the_same_cid(cid: CID, prefix: str) -> None:
    assert CID.parse(multibase.encode(prefix, cid.to_bytes())) == cid


@given(st.text(max_size=80))
def test_any_text_is_a_cid_that_writes_itself_the_same_or_is_refused(text: str) -> None:
    try:
        cid = CID.parse(text)
    except InvalidCID as error:
        assert error.reason
    else:
        assert CID.parse(str(cid)) == cid


@given(st.binary(max_size=80))
def test_any_bytes_are_a_cid_or_refused(data: bytes) -> None:
    try:
        assert CID.from_bytes(data).to_bytes() == data
    except InvalidCID as error:
        assert error.reason


@given(version_0 | version_1, st.data())
def test_a_changed_character_never_gives_the_same_cid(cid: CID, data: st.DataObject) -> None:
    text = str(cid)
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters(codec="ascii").filter(lambda character: character != text[at]))
    with suppress(InvalidCID):
        assert CID.parse(text[:at] + other + text[at + 1 :]) != cid


@pytest.mark.parametrize(
    ("text", "version", "codec"),
    [
        (V0, 0, DAG_PB),
        (V1, 1, RAW),
        (V1.upper(), 1, RAW),
        ("zdj7WWeQ43G6JJvLWQWZpyHuAMq6uYWRjkBXFad11vE2LHhQ7", 1, DAG_PB),
        ("k51qzi5uqu5dlvj2baxnqndepeb86cbk3ng7n3i46uzyxzyqj2xjonzllnv0v8", 1, 0x72),
        ("f01701220c3c4733ec8affd06cf9e9ff50ffc6bcd2ec85a6170004bb709669c31de94391a", 1, DAG_PB),
        ("uAXASIMPEcz7Ir_0Gz56f9Q_8a80uyFphcABLtwlmnDHelDka", 1, DAG_PB),
        ("bafyreigdmqpykrgxyaxtlafqpqhzrb7qy2rh75nldvfd4tucqmqqme5yje", 1, 0x71),
    ],
)
def test_cids_from_the_wild_are_understood(text: str, version: int, codec: int) -> None:
    cid = CID.parse(text)
    assert (cid.version, cid.codec) == (version, codec)


def test_the_canonical_text_of_version_1_is_base32_in_lower_case() -> None:
    assert str(CID.parse(V1.upper())) == V1
    assert str(CID.parse("zdj7WWeQ43G6JJvLWQWZpyHuAMq6uYWRjkBXFad11vE2LHhQ7")).startswith("bafybei")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("hello", "starts with 'h'"),
        ("/ipfs/" + V1, "give the CID alone"),
        ("ipfs://" + V1, "give the CID alone"),
        (V0[:-1], "45 characters instead of 46"),
        (V0[:-1] + "0", "characters that base58btc does not use"),
        (V1 + "=", "characters that base32 does not use"),
        (V1 + "\n", "only form that base32 allows"),
        (V1[:-1] + "E", "only form that base32 allows"),
        (V1[:-1] + "f", "only form that base32 allows"),
        ("z" + V0, "written as Qm"),
        ("b", "cut off"),
        ("f02551220" + "00" * 32, "its version is 2"),
        ("f01551220" + "00" * 31, "31 bytes instead of 32"),
        ("f01551220" + "00" * 33, "33 bytes instead of 32"),
        ("f0155128200" + "00" * 2, "shortest form"),
        ("f015500ff01" + "00" * 255, "longer than"),
    ],
)
def test_what_is_no_cid_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(InvalidCID) as caught:
        CID.parse(text)
    assert reason in caught.value.reason


def test_version_0_and_1_of_the_same_block_are_different_cids() -> None:
    old = CID.parse(V0)
    new = CID(1, DAG_PB, old.multihash)
    assert old != new
    assert len({old, new, CID.parse(V0)}) == 2


def test_a_cid_cannot_be_changed() -> None:
    cid = CID.parse(V1)
    with pytest.raises(AttributeError):
        cid.version = 0
    with pytest.raises(AttributeError):
        del cid.codec


def test_a_cid_can_be_pickled_and_written_as_text_by_msgspec() -> None:
    cid = CID.parse(V1)
    assert pickle.loads(pickle.dumps(cid)) == cid
    assert msgspec.json.encode({"cid": cid}, enc_hook=str) == b'{"cid":"%s"}' % V1.encode()
    decoded = msgspec.json.decode(b'"%s"' % V1.encode(), type=CID, dec_hook=lambda _, text: CID.parse(text))
    assert decoded == cid
