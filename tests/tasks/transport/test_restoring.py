"""What comes back when its lease has run out, and what does not, on a real server."""

from __future__ import annotations

import json
from typing import Any

import pytest
from redis import Redis

from tasks.transport import scripts
from tasks.transport.names import Names
from tests.tasks.transport.calls import LEASE_SECONDS, NAMES, Q, claim, overdue, restore, server_seconds
from tests.tasks.transport.wire import headers_of, raw_message, tag_of


def test_half_a_surrogate_pair_in_a_header_is_no_reason_to_refuse_a_message(client: Redis) -> None:
    raw = raw_message("t1", argsrepr="('\ud83d', '\\ud83d')")
    client.lpush("q", raw)
    assert claim(client, NAMES, Q, 10).messages == [("q", raw)]
    overdue(client)
    assert restore(client) == 1
    assert headers_of(client.lrange("q", 0, -1)[0]) == headers_of(raw) | {"x-losses": 1, "redelivered": True}


def test_what_a_dead_holder_could_not_read_is_put_aside(client: Redis, names: Names) -> None:
    cut_off = raw_message("t1")[5:]
    client.lpush(names.ready("q", 0), cut_off)
    assert claim(client, names, Q, 9).messages == [("q", cut_off)]
    overdue(client, names)
    assert restore(client, names) == 1
    assert client.lrange(names.malformed("q"), 0, -1) == [cut_off]
    assert client.exists(*names.held()) == 0


def test_only_what_is_still_held_is_renewed(client: Redis, names: Names) -> None:
    client.lpush(names.ready("q", 0), raw_message("t1"))
    claim(client, names, Q, 1)
    overdue(client, names)
    assert scripts.beat(client, names, ["t1", "gone"], LEASE_SECONDS) == 1
    assert client.zscore(names.unacked_index, "gone") is None
    assert restore(client, names) == 0


@pytest.mark.parametrize("compact", [False, True], ids=["spaced", "compact"])
@pytest.mark.parametrize("headers", [{}, {"id": "7", "headers": {"a": []}, "x-losses-of": 1}], ids=["bare", "full"])
def test_a_dead_holders_message_comes_back_with_one_more_loss_each_time(
    client: Redis, names: Names, compact: bool, headers: dict[str, Any]
) -> None:
    raw = raw_message("t1", priority=4, compact=compact, **headers)
    client.lpush(names.ready("q", 3), raw)
    for losses in range(1, 12):
        claim(client, names, Q, 1)
        overdue(client, names)
        assert restore(client, names) == 1
        [back] = client.lrange(names.ready("q", 3), 0, -1)
        assert headers_of(back) == headers | {"x-losses": losses, "redelivered": True}
        assert json.loads(back)["properties"]["delivery_info"]["redelivered"] is True
    assert client.exists(*names.held()) == 0


def test_restored_messages_are_the_next_ones_in_the_order_they_were_taken(client: Redis) -> None:
    for number in range(3):
        client.lpush("q", raw_message(f"t{number}"))
        claim(client, NAMES, Q, 1)
    for number in range(3):
        client.zadd("unacked_leases", {f"t{number}": number})
    client.lpush("q", raw_message("new"))
    restore(client)
    assert [tag_of(raw) for _, raw in claim(client, NAMES, Q, 9).messages] == ["t0", "t1", "t2", "new"]


def test_what_stock_workers_hold_is_not_looked_at_however_old_it_is(client: Redis) -> None:
    for number in range(25):
        client.hset("unacked", f"s{number}", json.dumps([json.loads(raw_message(f"s{number}")), "", "q"]))
        client.zadd("unacked_index", {f"s{number}": number})
    client.lpush("q", raw_message("ours"))
    claim(client, NAMES, Q, 1)
    overdue(client)
    client.config_resetstat()
    assert restore(client, limit=10) == 1
    assert client.info("commandstats")["cmdstat_hget"]["calls"] <= 3
    assert client.hlen("unacked") == 25
    assert [tag_of(raw) for raw in client.lrange("q", 0, -1)] == ["ours"]


def test_more_than_one_script_restores_comes_back_in_several(client: Redis) -> None:
    client.lpush("q", *(raw_message() for _ in range(7)))
    claim(client, NAMES, Q, 7)
    overdue(client)
    assert restore(client, limit=3) == 7
    assert not client.exists(*NAMES.held())


def test_a_lease_is_as_long_as_its_holder_says_whoever_looks(client: Redis) -> None:
    client.lpush("q", raw_message("short"), raw_message("long"))
    scripts.claim(client, NAMES, Q, 1, 0)
    scripts.claim(client, NAMES, Q, 1, 60)
    for lease_seconds in (3_600, 5):
        client.hset(NAMES.watch, mapping={"asked": server_seconds(client), "wait_until": 0})
        scripts.restore(client, NAMES, lease_seconds)
    assert client.hkeys("unacked") == [b"long"]


def test_what_a_stock_worker_took_away_and_holds_by_now_is_not_ours_to_restore(client: Redis) -> None:
    client.lpush("q", raw_message("t1"), raw_message("t2"))
    claim(client, NAMES, Q, 2)
    client.hdel("unacked", "t1", "t2")
    client.hset("unacked", "t2", json.dumps([json.loads(raw_message("t2")), "", "q"]))
    overdue(client)
    assert restore(client) == 0
    assert client.hkeys("unacked") == [b"t2"]
    assert not client.exists("q", "unacked_leases")


def test_who_asks_first_after_an_outage_lets_the_living_renew(client: Redis, names: Names) -> None:
    client.lpush(names.ready("q", 0), raw_message("lives"), raw_message("orphan"))
    claim(client, names, Q, 2)
    overdue(client, names)
    client.hset(names.watch, mapping={"asked": server_seconds(client) - 0.8 * LEASE_SECONDS, "wait_until": 0})
    assert scripts.restore(client, names, LEASE_SECONDS) == 0
    assert scripts.beat(client, names, ["lives"], LEASE_SECONDS) == 1
    assert scripts.restore(client, names, LEASE_SECONDS) == 0
    wait_until = float(client.hget(names.watch, "wait_until") or 0)
    assert wait_until == pytest.approx(server_seconds(client) + LEASE_SECONDS / 2, abs=2)
    assert restore(client, names) == 1
    assert client.hkeys(names.unacked) == [b"lives"]


def test_a_clock_that_was_set_back_does_not_put_restores_off_for_long(client: Redis) -> None:
    far = server_seconds(client) + 3_600
    client.hset(NAMES.watch, mapping={"asked": far, "wait_until": far})
    assert scripts.restore(client, NAMES, LEASE_SECONDS) == 0
    assert float(client.hget(NAMES.watch, "wait_until") or 0) < server_seconds(client) + LEASE_SECONDS
