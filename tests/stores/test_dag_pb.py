"""dag-pb blocks come out as they went in."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tasks.stores import dag_pb
from tasks.stores.protobuf import MalformedMessage

links = st.lists(
    st.builds(
        dag_pb.Link,
        st.binary(min_size=1, max_size=40),
        st.text(st.characters(codec="utf-8"), max_size=10),
        st.integers(0, 2**63 - 1),
    ),
    max_size=5,
)


@given(links, st.binary(max_size=300))
def test_a_node_is_decoded_to_what_was_encoded(given_links: list[dag_pb.Link], data: bytes) -> None:
    node = dag_pb.decode(dag_pb.encode(given_links, data))
    assert node.links == given_links
    assert node.data is not None
    assert node.data.tobytes() == data


@given(st.binary(max_size=200))
def test_any_bytes_are_a_node_or_refused(block: bytes) -> None:
    try:
        dag_pb.decode(block)
    except MalformedMessage as error:
        assert str(error)
