"""The parts of the transport that decide and keep, and touch no server."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from kombu.transport import TRANSPORT_ALIASES, get_transport_cls

from tasks import transport
from tasks.transport import life, running
from tasks.transport.acks import MOST_AT_ONCE, Acks
from tasks.transport.connecting import is_of_cluster, is_unknown_hello
from tasks.transport.delayed import due_seconds
from tasks.transport.messages import NoMessage, decode, tag_in
from tasks.transport.names import Names
from tasks.transport.options import Options
from tasks.transport.tracking import FIRST_LOOK_SECONDS, Watch
from tests.tasks.transport.wire import raw_message


@pytest.fixture(autouse=True)
def stock_again() -> Iterator[None]:
    yield
    transport.uninstall()


def test_keys_are_called_as_kombu_calls_them() -> None:
    names = Names(prefix="p:")
    assert names.ready("q", 0) == "p:q"
    assert names.ready("q", 3) == "p:q\x06\x163"
    assert names.held() == ["p:unacked", "p:unacked_index", "p:unacked_leases"]
    assert names.of_queue("q")[:3] == ["p:q.delayed", "p:q.malformed", "p:q"]


def test_options_of_others_are_passed_over() -> None:
    assert Options.read({"lease_seconds": 3.0, "visibility_timeout": 60}) == Options(lease_seconds=3.0)


def test_acknowledgements_are_taken_in_order_and_put_back_in_front() -> None:
    acks = Acks()
    for number in range(MOST_AT_ONCE + 2):
        acks.add(str(number))
    taken = acks.take()
    assert (taken[0], len(taken), len(acks)) == ("0", MOST_AT_ONCE, 2)
    acks.put_back(taken)
    assert acks.take() == taken


@pytest.mark.parametrize(
    ("eta", "due"),
    [
        ("2026-01-01T00:00:00", datetime(2026, 1, 1, tzinfo=UTC).timestamp()),
        ("2026-01-01T02:30:00.5+02:30", datetime(2026, 1, 1, tzinfo=UTC).timestamp() + 0.5),
        ("soon", None),
        (None, None),
        (7, None),
    ],
)
def test_an_eta_is_a_time_or_nothing(eta: Any, due: float | None) -> None:
    assert due_seconds({"headers": {"eta": eta}}) == due


@pytest.mark.parametrize("message", [{}, {"headers": None}, {"headers": {}}])
def test_a_message_without_an_eta_may_go_at_any_time(message: dict[str, Any]) -> None:
    assert due_seconds(message) is None


def test_a_sign_of_life_is_missed_until_it_is_over_on_purpose() -> None:
    def seconds_since() -> float:
        return 5.0

    life.register("loop", seconds_since)
    assert life.overdue(4.0) == "loop"
    assert life.overdue(6.0) is None
    life.unregister(seconds_since)
    assert life.overdue(4.0) is None


def test_a_pool_that_knows_what_runs_is_believed() -> None:
    def runs() -> list[str]:
        return ["a"]

    running.register(runs)
    try:
        assert running.tags() == {"a"}
    finally:
        running.unregister(runs)
    assert running.tags() == set()


def test_messages_are_decoded_with_kombus_own_types_where_there_are_any() -> None:
    assert decode(raw_message("t1", id="7"))[0]["headers"] == {"id": "7"}
    typed = raw_message("t1", at={"__type__": "datetime", "__value__": "2026-01-01T00:00:00+00:00"})
    assert decode(typed)[0]["headers"]["at"] == datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("compact", [False, True])
def test_the_tag_of_what_cannot_be_decoded_is_found_where_the_claim_found_it(compact: bool) -> None:
    raw = raw_message("t1", compact=compact, delivery_tag="other")
    assert tag_in(raw) == tag_in(b"{" + raw) == "t1"
    assert tag_in(b"{") is None


@pytest.mark.parametrize(
    "raw",
    [b"{", b"[]", b"{}", b'{"properties": []}', b'{"properties": {"delivery_tag": "a"}, "x": {"delivery_tag": "b"}}'],
)
def test_what_is_no_message_is_not_taken_for_one(raw: bytes) -> None:
    with pytest.raises(NoMessage):
        decode(raw)


def test_who_is_not_told_looks_ever_less_often_but_never_late() -> None:
    watch = Watch(poll_seconds=1.0)
    looks = [watch.patience_seconds(None) for _ in range(20)]
    assert looks == sorted(looks)
    assert (looks[0], looks[-1]) == (FIRST_LOOK_SECONDS, 1.0)
    assert watch.patience_seconds(300) == 0.3
    watch.found_something()
    assert watch.patience_seconds(None) == FIRST_LOOK_SECONDS


def test_refusals_are_told_apart() -> None:
    assert is_unknown_hello(Exception("unknown command 'HELLO', with args beginning with: '3'"))
    assert is_unknown_hello(Exception("NOPROTO unsupported protocol version"))
    assert not is_unknown_hello(Exception("unknown command 'EVALSHA'"))
    assert is_of_cluster(Exception("CROSSSLOT Keys in request don't hash to the same slot"))
    assert not is_of_cluster(Exception("OOM command not allowed"))


def test_installing_names_the_transport_for_every_redis_url_and_uninstalling_takes_it_back() -> None:
    stock = {name: TRANSPORT_ALIASES[name] for name in ("redis", "rediss", "sentinel")}
    transport.install()
    found: list[object] = [get_transport_cls(name) for name in ("redis", "rediss", "sentinel")]
    assert found == [transport.Transport, transport.Transport, transport.SentinelTransport]
    transport.uninstall()
    assert {name: TRANSPORT_ALIASES[name] for name in stock} == stock
    assert get_transport_cls("redis") is not found[0]
