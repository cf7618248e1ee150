"""What each script promises, on a real server."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta

import pytest
from redis import Redis

from tasks.transport import scripts
from tasks.transport.names import Names
from tasks.transport.scripts import Source
from tests.tasks.transport.calls import LEASE_SECONDS, NAMES, Q, claim, overdue, server_seconds
from tests.tasks.transport.wire import headers_of, raw_message, tag_of


def later(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def test_a_claimed_message_is_held_in_the_same_step_as_kombu_would_hold_it(client: Redis, names: Names) -> None:
    raw = raw_message("t1")
    client.lpush(names.ready("q", 0), raw)
    claimed = claim(client, names, Q, 10)
    assert claimed.messages == [("q", raw)]
    assert json.loads(client.hget(names.unacked, "t1") or "") == [json.loads(raw), "", "q"]
    assert client.zscore(names.unacked_index, "t1") == pytest.approx(time.time(), abs=60)
    assert client.exists(names.ready("q", 0)) == 0


def test_a_claim_acknowledges_what_it_is_told_to_first(client: Redis) -> None:
    client.lpush("q", raw_message("t1"), raw_message("t2"))
    claim(client, NAMES, Q, 1)
    claimed = claim(client, NAMES, Q, 1, acks=["t1"])
    assert [tag_of(raw) for _, raw in claimed.messages] == ["t2"]
    assert client.hkeys("unacked") == [b"t2"]
    assert client.zrange("unacked_index", 0, -1) == [b"t2"]


def test_higher_priorities_come_first_and_within_one_the_oldest(client: Redis, names: Names) -> None:
    for number, step in enumerate([9, 0, 3, 0, 6]):
        client.lpush(names.ready("q", step), raw_message(f"{step}-{number}", priority=step))
    claimed = claim(client, names, Q, 10)
    assert [tag_of(raw) for _, raw in claimed.messages] == ["0-1", "0-3", "3-2", "6-4", "9-0"]


def test_queues_of_one_priority_share_what_is_wanted(client: Redis) -> None:
    for queue, count in (("busy", 100), ("calm", 3)):
        client.lpush(queue, *(raw_message(queue=queue) for _ in range(count)))
    claimed = claim(client, NAMES, [Source("busy"), Source("calm")], 10)
    taken = [queue for queue, _ in claimed.messages]
    assert (taken.count("busy"), taken.count("calm")) == (7, 3)


def test_what_a_no_ack_consumer_takes_is_not_held(client: Redis) -> None:
    client.lpush("q", raw_message("t1"))
    claimed = claim(client, NAMES, [Source("q", no_ack=True)], 10)
    assert len(claimed.messages) == 1
    assert client.exists(*NAMES.held()) == 0


@pytest.mark.parametrize("junk", [b"{", b"[]", b"7", b'{"properties": {}}', b'{"properties": null}', b"\xff\xfe"])
def test_what_is_no_message_is_put_aside_and_counted(client: Redis, names: Names, junk: bytes) -> None:
    client.rpush(names.ready("q", 0), raw_message("after"), junk)
    claimed = claim(client, names, Q, 10)
    assert [tag_of(raw) for _, raw in claimed.messages] == ["after"]
    assert claimed.parked == 1
    assert client.lrange(names.malformed("q"), 0, -1) == [junk]


def test_a_message_that_is_not_due_waits_in_a_set_of_its_own(client: Redis, names: Names) -> None:
    raw = raw_message("t1", eta=later(60))
    client.lpush(names.ready("q", 0), raw, raw_message("t2"))
    claimed = claim(client, names, Q, 10)
    assert [tag_of(found) for _, found in claimed.messages] == ["t2"]
    assert claimed.delayed == 1
    assert client.zscore(names.delayed("q"), raw) == pytest.approx(time.time() + 60, abs=2)
    assert claimed.wait_milliseconds == pytest.approx(60_000, abs=2_000)
    assert client.hkeys(names.unacked) == [b"t2"]


def test_what_is_due_is_delivered_at_its_priority_the_earliest_first(client: Redis, names: Names) -> None:
    now = time.time()
    for priority, seconds in ((9, -3), (0, -1), (0, -2), (3, -5)):
        client.zadd(names.delayed("q"), {raw_message(f"{priority}{seconds}", priority=priority): now + seconds})
    claimed = claim(client, names, Q, 10)
    assert [tag_of(raw) for _, raw in claimed.messages] == ["0-2", "0-1", "3-5", "9-3"]
    assert client.exists(names.delayed("q")) == 0


def test_a_claim_moves_no_more_than_so_many_due_messages_and_says_that_there_are_more(client: Redis) -> None:
    client.zadd("q.delayed", {raw_message(): 1 for _ in range(scripts.MOST_DUE + 5)})
    claimed = claim(client, NAMES, Q, 300)
    assert len(claimed.messages) == scripts.MOST_DUE
    assert claimed.wait_milliseconds == 0
    assert len(claim(client, NAMES, Q, 300).messages) == 5


def test_a_claim_says_whether_there_is_anything_to_wait_for(client: Redis) -> None:
    assert claim(client, NAMES, Q, 1).wait_milliseconds is None
    client.lpush("q", raw_message())
    assert claim(client, NAMES, Q, 1).wait_milliseconds == 0


@pytest.mark.parametrize(
    "eta",
    [
        "2999-01-01T10:00:00.123456+00:00",
        "2999-01-01T10:00:00",
        "2999-01-01T10:00:00Z",
        "2999-01-01 10:00:00.5Z",
        "2999-02-28T23:59:59-05:30",
        "2999-03-01T00:00:00+1400",
        "2999-12-31T00:00+02",
        "2996-02-29T12:00:00.000001+00:00",
    ],
)
def test_an_eta_is_read_as_python_reads_it(client: Redis, eta: str) -> None:
    raw = raw_message(eta=eta)
    client.lpush("q", raw)
    assert claim(client, NAMES, Q, 1).delayed == 1
    meant = datetime.fromisoformat(eta)
    meant = meant if meant.tzinfo else meant.replace(tzinfo=UTC)
    assert client.zscore("q.delayed", raw) == pytest.approx(meant.timestamp(), abs=2e-5)


@pytest.mark.parametrize(
    "eta", ["soon", "", "2999-13-01T00:00:00", "2999-01-01", 4e9, None, {"x": 1}, "2999-01-01T00:00:00+x"]
)
def test_an_eta_nobody_can_read_does_not_hold_a_message_back(client: Redis, eta: object) -> None:
    client.lpush("q", raw_message(eta=eta))
    assert len(claim(client, NAMES, Q, 1).messages) == 1


@pytest.mark.parametrize("compact", [False, True], ids=["spaced", "compact"])
def test_a_message_is_found_delayed_or_not_however_its_tag_is_found(client: Redis, compact: bool) -> None:
    words = '"eta": "2999-01-01T00:00:00", "eta":"2999-01-01T00:00:00"'
    now = raw_message("now", compact=compact, argsrepr=words, eta=None)
    later_than_that = raw_message("later", compact=compact, argsrepr=words, eta="2999-01-01T00:00:00")
    client.lpush("q", now, later_than_that)
    assert claim(client, NAMES, Q, 9).messages == [("q", now)]
    assert client.zrange("q.delayed", 0, -1) == [later_than_that]


def test_settling_is_safe_to_repeat(client: Redis, names: Names) -> None:
    client.lpush(names.ready("q", 0), raw_message("t1"))
    claim(client, names, Q, 1)
    assert scripts.settle(client, names, ["t1", "never"]) == 1
    assert scripts.settle(client, names, ["t1", "never"]) == 0
    assert client.exists(*names.held()) == 0


def test_what_is_given_back_is_next_and_has_lost_nobody(client: Redis, names: Names) -> None:
    client.lpush(names.ready("q", 0), *(raw_message(f"t{number}") for number in range(4)))
    claim(client, names, Q, 3)
    assert scripts.give_back(client, names, ["t0", "t1", "t2", "gone"]) == 3
    claimed = claim(client, names, Q, 9)
    assert [tag_of(raw) for _, raw in claimed.messages] == ["t0", "t1", "t2", "t3"]
    assert headers_of(claimed.messages[0][1]) == {"redelivered": True}
    assert scripts.give_back(client, names, ["t0", "t0"]) == 1, "given to one worker twice, it goes back once"
    assert scripts.give_back(client, names, ["t0"]) == 0


def test_what_is_given_back_to_the_back_is_last(client: Redis) -> None:
    client.lpush("q", raw_message("t0"), raw_message("t1"))
    claim(client, NAMES, Q, 1)
    scripts.give_back(client, NAMES, ["t0"], front=False)
    assert [tag_of(raw) for _, raw in claim(client, NAMES, Q, 9).messages] == ["t1", "t0"]


def test_a_held_message_that_nobody_can_read_is_put_aside_as_it_came(client: Redis, names: Names) -> None:
    raw = raw_message("t1")
    client.lpush(names.ready("q", 0), raw)
    claim(client, names, Q, 1)
    assert scripts.park(client, names, "q", "t1") == 1
    assert scripts.park(client, names, "q", "t1") == 0
    assert client.lrange(names.malformed("q"), 0, -1) == [raw]
    assert client.exists(*names.held()) == 0


def test_more_tags_than_one_script_takes_are_sent_in_several(client: Redis) -> None:
    many = scripts.TAGS_AT_ONCE + 1
    client.lpush("q", *(raw_message(f"t{number}") for number in range(many)))
    taken = 0
    while taken < many:
        taken += len(claim(client, NAMES, Q, 1_000).messages)
    tags = [f"t{number}" for number in range(many)]
    assert scripts.beat(client, NAMES, tags, LEASE_SECONDS) == many
    assert scripts.give_back(client, NAMES, tags) == many
    assert tag_of(claim(client, NAMES, Q, 1).messages[0][1]) == "t0"


def test_a_full_server_still_takes_acknowledgements_claims_and_restores(own_redis: Redis) -> None:
    own_redis.lpush("q", *(raw_message(f"t{number}") for number in range(4)))
    own_redis.config_set("maxmemory", 1)
    own_redis.config_set("maxmemory-policy", "noeviction")
    assert len(claim(own_redis, NAMES, Q, 2).messages) == 2
    assert claim(own_redis, NAMES, Q, 1, acks=["t0"]).messages
    assert scripts.beat(own_redis, NAMES, ["t1"], LEASE_SECONDS) == 1
    assert scripts.give_back(own_redis, NAMES, ["t1"]) == 1
    assert own_redis.hkeys("unacked") == [b"t2"]
    own_redis.config_set("maxmemory", 0)
    overdue(own_redis)
    own_redis.hset(NAMES.watch, mapping={"asked": server_seconds(own_redis), "wait_until": 0})
    own_redis.config_set("maxmemory", 1)
    assert scripts.restore(own_redis, NAMES, LEASE_SECONDS) == 1
    assert scripts.settle(own_redis, NAMES, ["t3"]) == 0


def test_scripts_the_server_forgot_are_sent_again(client: Redis) -> None:
    client.script_flush()
    assert scripts.settle(client, NAMES, ["t1"]) == 0
    assert scripts.settle(client, NAMES, ["t1"]) == 0
