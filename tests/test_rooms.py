"""Holds the rooms to their rules: who may import whom, who reads the environment, and how long a file may be."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("service", "tasks", "observability")
MODULES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))

MAY_IMPORT = {"service": {"tasks"}, "tasks": set(), "observability": set()}
"""Rooms a room may import beside itself."""

WIRING = {
    "service/app.py",
    "service/roles.py",
    "service/unknown_settings.py",
    "service/up.py",
    "tasks/worker.py",
}
"""Where observability is attached to the rest, and the only places that import it."""

READS_THE_ENVIRONMENT = {
    "service/client_options.py",
    "service/key_commands.py",
    "service/roles.py",
    "service/up.py",
    "tasks/worker.py",
}
"""Wiring that turns the environment into settings. Everything else is given them."""

MOST_LINES = 300
MEANINGLESS_NAMES = {"utils", "util", "common", "helpers", "helper", "misc"}


def name_of(module: Path) -> str:
    return module.relative_to(ROOT).as_posix()


def imported_rooms(module: Path) -> Iterator[str]:
    """The rooms a module imports anywhere in its text, in functions and for the type checker only as well."""
    for node in ast.walk(ast.parse(module.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(module)} imports relative to itself"
            names = [node.module or ""]
        yield from {name.split(".")[0] for name in names} & set(ROOMS)


def reads_environment(module: Path) -> bool:
    attributes = (node for node in ast.walk(ast.parse(module.read_text())) if isinstance(node, ast.Attribute))
    return any(ast.unparse(attribute) in {"os.environ", "os.getenv"} for attribute in attributes)


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_rooms_import_only_what_they_may(module: Path) -> None:
    room = name_of(module).split("/")[0]
    allowed = {room} | MAY_IMPORT[room] | ({"observability"} if name_of(module) in WIRING else set())
    assert set(imported_rooms(module)) <= allowed


def test_the_wiring_is_all_there_and_no_more() -> None:
    outside = [module for module in MODULES if not name_of(module).startswith("observability/")]
    assert {name_of(module) for module in outside if "observability" in imported_rooms(module)} == WIRING


def test_nothing_but_wiring_reads_the_environment() -> None:
    reading = {name_of(module) for module in MODULES if reads_environment(module)}
    assert reading == READS_THE_ENVIRONMENT


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_a_file_is_short_and_named_for_what_it_promises(module: Path) -> None:
    assert module.stem not in MEANINGLESS_NAMES
    assert len(module.read_text().splitlines()) <= MOST_LINES
