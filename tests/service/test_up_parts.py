from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from service.broker import embedded_broker
from service.children import Child
from service.up import banner
from service.up_parts import SPARE_SECONDS, WORKER_QUEUES, Plan, answers_well, broker_part, moorage_parts
from tasks.queues import QUEUES
from tests.service.fake_moorage import Answer, FakeMoorage


@pytest.fixture
def plan(data: Path, runtime: Callable[[], dict[str, str]]) -> Plan:
    environ = runtime()
    return Plan(
        data=data,
        host="0.0.0.0",
        port=8000,
        log_format="json",
        shutdown_seconds=3600.0,
        shutdown_grace_seconds=2.0,
        broker=embedded_broker(data, environ),
        environ=environ,
    )


def parts(plan: Plan) -> dict[str, Child]:
    assert plan.broker is not None
    return {part.name: part for part in (broker_part(plan.broker, plan), *moorage_parts(plan))}


def test_every_queue_has_exactly_one_consumer() -> None:
    assert sorted(queue for queues in WORKER_QUEUES.values() for queue in queues) == sorted(QUEUES)


def test_all_parts_stop_within_thirty_seconds_the_api_first_and_the_broker_last(plan: Plan) -> None:
    by_order: dict[int, float] = {}
    for part in parts(plan).values():
        by_order[part.stop_order] = max(by_order.get(part.stop_order, 0.0), part.stop_seconds)
    assert sum(by_order.values()) <= 30.0 - SPARE_SECONDS
    order = sorted(parts(plan).values(), key=lambda part: part.stop_order)
    assert [part.name for part in order] == ["api", "beat", "worker-upload", "worker", "worker-schedule", "broker"]


def test_parts_are_told_what_was_decided_and_keep_the_rest_of_the_environment(plan: Plan) -> None:
    plan = msgspec.structs.replace(plan, environ={**plan.environ, "MOORAGE_GATEWAY": "public", "MOORAGE_PORT": "1"})
    env = parts(plan)["worker-upload"].env
    assert plan.broker is not None
    assert env["MOORAGE_ROLE"] == "worker-upload"
    assert env["MOORAGE_PORT"] == "8000"
    assert env["MOORAGE_GATEWAY"] == "public"
    assert env["REDIS_URL"] == plan.broker.url
    assert env["MOORAGE_SHUTDOWN_SECONDS"] == "8.0"  # an hour would outlive the stop
    assert env["MOORAGE_SHUTDOWN_GRACE_SECONDS"] == "2.0"


def test_a_broker_of_the_user_s_own_is_left_to_the_user(plan: Plan) -> None:
    theirs = msgspec.structs.replace(plan, broker=None, environ={"REDIS_URL": "redis://theirs"})
    assert theirs.child_environ("api")["REDIS_URL"] == "redis://theirs"


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("::", "http://[::1]:8000"),
        ("localhost", "http://localhost:8000"),
        ("192.168.1.7", "http://192.168.1.7:8000"),
    ],
)
def test_the_address_shown_is_one_that_this_machine_can_reach(plan: Plan, host: str, address: str) -> None:
    assert msgspec.structs.replace(plan, host=host).address == address


def test_a_folder_named_like_our_packages_is_not_taken_for_them(plan: Plan, tmp_path: Path) -> None:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "__init__.py").write_text("raise SystemExit('somebody else')")
    shown = subprocess.run(
        [*parts(plan)["worker"].argv, "--help"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
    )
    assert (shown.returncode, shown.stderr) == (0, "")


async def test_ready_means_that_readyz_answers_200(moorage: FakeMoorage) -> None:
    port = int(moorage.url.rpartition(":")[2])
    moorage.will(Answer(503), Answer(200))
    assert not await answers_well("127.0.0.1", port, "/readyz")
    assert await answers_well("127.0.0.1", port, "/readyz")
    assert moorage.seen[-1].path == "/readyz"
    assert not await answers_well("127.0.0.1", 1, "/readyz")


def test_the_banner_s_line_can_be_pasted_even_when_the_folder_s_name_has_a_space(tmp_path: Path) -> None:
    key_file = tmp_path / "my data" / "api-key"
    key_file.parent.mkdir()
    key_file.write_text("ipfs_gw_secret\n")
    text = banner("http://127.0.0.1:8000", key_file)
    assert "ipfs_gw_secret" not in text
    [line] = [line for line in text.splitlines() if "curl" in line]
    as_printf = line.replace("curl", "printf '%s\\n'")
    shown = subprocess.run(["sh", "-c", as_printf], capture_output=True, text=True, check=True, env=dict(os.environ))
    assert shown.stdout.splitlines() == [
        "-T", "big.iso", "-H", "X-API-Key: ipfs_gw_secret", "http://127.0.0.1:8000/api/v1/uploads/",
    ]  # fmt: skip
