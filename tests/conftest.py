"""What the tests of every room share: a real Valkey, a data folder, and the parts on both."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tasks.catalog import migrate
from tasks.parts import Parts
from tasks.settings import TaskSettings
from tests.real_valkey import DATABASES, RealValkey

_databases = itertools.count(1)

UNAVOIDABLE_SKIPS = ("root may write anywhere", "can be mounted here")
"""Reasons that no installation could mend."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--no-skips`: for a machine on which everything a test can want has been installed."""
    parser.addoption("--no-skips", action="store_true", help="fail when a test is skipped for want of something")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Turns a run with avoidable skips into a failed one."""
    if not session.config.getoption("--no-skips"):
        return
    terminal = session.config.pluginmanager.get_plugin("terminalreporter")
    reasons = [str(report.longrepr) for report in terminal.stats.get("skipped", [])] if terminal else []
    avoidable = [reason for reason in reasons if not any(words in reason for words in UNAVOIDABLE_SKIPS)]
    if terminal and avoidable and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        terminal.write_line(f"\n--no-skips: {len(avoidable)} tests were skipped that need not have been", red=True)


@pytest.fixture(scope="session")
def shared_valkey() -> Iterator[RealValkey]:
    """The server all tests share. A test that kills a server takes `own_valkey`."""
    server = RealValkey()
    server.start()
    yield server
    server.remove()


@pytest.fixture(scope="session")
def valkey(shared_valkey: RealValkey) -> str:
    """The shared server's address."""
    return shared_valkey.url()


@pytest.fixture
def redis_url(shared_valkey: RealValkey) -> str:
    """The address of an empty database that only this test uses."""
    number = next(_databases)
    assert number < DATABASES
    return shared_valkey.url(number)


@pytest.fixture
def own_valkey() -> Iterator[RealValkey]:
    """A server of the test's own, running, to be killed and brought back as it likes."""
    server = RealValkey()
    server.start()
    yield server
    server.remove()


@pytest.fixture
def task_settings(tmp_path: Path, redis_url: str) -> TaskSettings:
    """Settings with a fresh data folder and the test's own Redis database."""
    return TaskSettings(data=tmp_path / "data", redis_url=redis_url)


@pytest.fixture
async def parts(task_settings: TaskSettings) -> AsyncIterator[Parts]:
    """All parts, open, with a migrated catalog."""
    opened = await Parts.open(task_settings)
    await migrate.upgrade(opened.catalog)
    yield opened
    await opened.close()
