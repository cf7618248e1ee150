"""The state machine is no ornament: scripts with one fault each are found out by it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from redis.exceptions import ResponseError

from tasks.transport import scripts
from tasks.transport.scripts import Script
from tests.tasks.transport.fake_time_broker import time_from_a_key
from tests.tasks.transport.machine import harbour_at

EXAMPLES, STEPS = 1_000, 30


class Fault(NamedTuple):
    """One change of a script."""

    script: str
    right: str
    wrong: str


FAULTS = {
    "what is claimed is not written down": Fault("CLAIM", "if #entries > 0 then", "if false then"),
    "a claim leaves the index of what it acknowledges": Fault(
        "CLAIM", "redis.call('ZREM', KEYS[2], unpack(ARGV, from, to))", ""
    ),
    "the last is served first": Fault("CLAIM", "'RPOP'", "'LPOP'"),
    "low priorities are served first": Fault("CLAIM", "take_level(2 + i)", "take_level(3 + step_count - i)"),
    "the first queue may take all": Fault("CLAIM", "math.min(share, want)", "want"),
    "what is not due is handed out": Fault("CLAIM", "if due and due > now then", "if false then"),
    "what is due stays delayed": Fault("CLAIM", "for queue = 1, queue_count do move_due(queue) end", ""),
    "what is due last comes first": Fault("CLAIM", "for i = #due, 1, -1 do", "for i = 1, #due do"),
    "what is no message is dropped": Fault("CLAIM", "    redis.call('LPUSH', key_at(queue, 2), raw)\n", ""),
    "the next due time is forgotten": Fault("CLAIM", "out[1] = milliseconds", "out[1] = -1"),
    "a claim leaves the lease of what it acknowledges": Fault(
        "CLAIM", "redis.call('ZREM', KEYS[3], unpack(ARGV, from, to))", ""
    ),
    "what is claimed has no lease": Fault("CLAIM", "redis.call('ZADD', KEYS[3], unpack(leases))", ""),
    "what is done is renewed into life": Fault("BEAT", "if redis.call('ZSCORE', KEYS[1], ARGV[i]) then", "do"),
    "leases are not renewed": Fault("BEAT", "'XX', lease_end,", "'XX', now,"),
    "stock workers see no sign of life": Fault("BEAT", "'XX', now,", "'XX', 0,"),
    "acknowledging leaves the index": Fault("SETTLE", "redis.call('ZREM', KEYS[2], unpack(ARGV))", ""),
    "acknowledging leaves the lease": Fault("SETTLE", "redis.call('ZREM', KEYS[3], unpack(ARGV))", ""),
    "giving back leaves the lease": Fault("GIVE_BACK", "    redis.call('ZREM', KEYS[3], tag)\n", ""),
    "live leases are cut off": Fault("RESTORE", "'-inf', score(now)", "'-inf', score(now + 1)"),
    "leases are as long as that of whoever looks": Fault(
        "RESTORE",
        "redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', score(now)",
        "redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', score(now - lease)",
    ),
    "after an outage, the first one robs the others": Fault("RESTORE", "if must_wait() then", "if false then"),
    "an outage shorter than a lease counts for none": Fault("RESTORE", "0.75 * lease", "lease"),
    "after an outage, nobody waits long enough": Fault("RESTORE", "now + lease / 2", "now"),
    "a lease outlives what a stock worker took away": Fault(
        "RESTORE", "  redis.call('ZREM', KEYS[3], tag)", "  if message then redis.call('ZREM', KEYS[3], tag) end"
    ),
    "what is restored stays held": Fault("RESTORE", "    redis.call('HDEL', KEYS[1], tag)\n", ""),
    "what is restored goes to the end": Fault("RESTORE", "'RPUSH'", "'LPUSH'"),
    "what is restored forgets its priority": Fault("RESTORE", "steps[step_at(message, steps)]", "0"),
    "losses are not counted": Fault("RESTORE", "counted_loss(marked_redelivered(raw, message), message)", "raw"),
    "losses are counted anywhere": Fault(
        "RESTORE", "if as_meant(decode(edited)) then return edited end", "return edited"
    ),
    "a stock worker's message is taken away": Fault("RESTORE", "string.sub(entry, -#tail) ~= tail", "false"),
    "giving back counts as a death": Fault(
        "GIVE_BACK", "marked_redelivered(raw, message))", "counted_loss(marked_redelivered(raw, message), message))"
    ),
    "giving back to the front turns the order round": Fault(
        "GIVE_BACK", "if push == 'RPUSH' then first, last, by = last, first, -1 end", ""
    ),
    "what is parked is changed": Fault("PARK", "inside(entry) or entry", "entry"),
    "what is no message comes back for ever": Fault("RESTORE", "elseif text then", "elseif false then"),
    "what is parked stays held": Fault("PARK", "redis.call('HDEL', KEYS[1], ARGV[1])", ""),
}


@pytest.fixture(autouse=True)
def fake_time() -> Iterator[None]:
    with time_from_a_key():
        yield


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found(name: str, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fault = FAULTS[name]
    text = getattr(scripts, fault.script).text
    assert fault.right in text, "the script has changed: break it anew"
    monkeypatch.setattr(scripts, fault.script, Script(text.replace(fault.right, fault.wrong)))
    quick = settings(
        max_examples=EXAMPLES,
        stateful_step_count=STEPS,
        phases=[Phase.generate],
        derandomize=True,
        database=None,
        deadline=None,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    with pytest.raises((AssertionError, ResponseError)):
        run_state_machine_as_test(harbour_at(redis_url), settings=quick)
