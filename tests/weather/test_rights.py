"""The rights that the page on the transport names are enough, and none of them is one too many."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from tests.weather.fleet import Ledger, send, worker
from tests.weather.generic_app import QUEUES, Setup, build
from tests.weather.servers import Server

PAGE = Path(__file__).parents[2] / "docs" / "transport.md"
OF_THE_TEST = {"config|resetstat", "info"}
TASKS, LATER, HELD, LEFT = range(20), [30, 31], range(40, 45), range(50, 55)


def documented() -> tuple[list[str], set[str]]:
    """The words of the rule on the page, for the queues here; and the commands among them."""
    found = re.search(r"```\nuser moorage on >PASSWORD (.*?)```", PAGE.read_text(), re.DOTALL)
    assert found
    words = found[1].split()
    at = words.index("~upload*")
    rule = [*words[:at], *(f"~{queue}*" for queue in QUEUES), *words[at + 1 :]]
    return rule, {word[1:] for word in words if word.startswith("+")}


@pytest.mark.slow
async def test_the_rights_on_the_page_are_those_that_a_fleet_uses(server: Server, ledger: Ledger, folder: Path) -> None:
    rule, commands = documented()
    admin = server.client()
    admin.execute_command("ACL", "SETUSER", "moorage", "reset", "on", ">pw", *rule)  # type: ignore[no-untyped-call]
    admin.config_resetstat()
    setup = Setup(broker=server.url("moorage:pw@"), ledger=ledger.url)
    control = build(setup).control

    async with worker(setup, folder, "-E") as first:
        await send(setup, TASKS)
        await send(setup, LATER, countdown=0.5)
        await send(setup, HELD, gate="open")
        await ledger.all_ran([*TASKS, *LATER])
        await ledger.have_started(HELD)
        first.kill()
    async with worker(setup, folder, "-E") as second:
        await ledger.have_started(HELD, times=2)
        pongs: Any = await asyncio.to_thread(control.inspect(timeout=2.0, limit=1).ping)
        assert pongs == {f"{second.name}@here": {"ok": "pong"}}
        ledger.open_gate("open")
        await ledger.all_ran(HELD)
        await second.stop()
    await send(setup, LEFT)
    await asyncio.to_thread(control.purge)
    used: Any = admin.info("commandstats")
    assert {name.removeprefix("cmdstat_") for name in used} - OF_THE_TEST == commands
    denied: Any = admin.acl_log()
    assert not denied, "somebody wanted more"
