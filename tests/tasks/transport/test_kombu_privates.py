"""Every private name the transport leans on is there, and takes what it is given."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from typing import Any

import pytest
from kombu import transport as transports
from kombu.transport import redis as stock
from kombu.transport import virtual
from redis import Connection

from tasks.transport import kombu_privates

REAL: dict[str, Any] = {
    "StockQoS": stock.QoS,
    "StockPoller": stock.MultiChannelPoller,
    "StockChannel": stock.Channel,
    "StockTransport": stock.Transport,
    "RedisConnection": Connection,
}


def declared() -> list[tuple[str, str, list[str] | None]]:
    """Each class, name and, for a method, its arguments that `kombu_privates` declares."""
    tree = ast.parse(Path(kombu_privates.__file__).read_text())
    found: list[tuple[str, str, list[str] | None]] = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.ClassDef) or node.name not in REAL:
            continue
        for member in node.body:
            if isinstance(member, ast.AnnAssign) and isinstance(member.target, ast.Name):
                found.append((node.name, member.target.id, None))
            elif isinstance(member, ast.FunctionDef):
                arguments = [*member.args.posonlyargs, *member.args.args, *member.args.kwonlyargs]
                found.append((node.name, member.name, [argument.arg for argument in arguments]))
    return found


def source_of(real: Any) -> str:
    return "".join(inspect.getsource(base) for base in real.__mro__ if base is not object)


def test_the_page_declares_something_of_every_class() -> None:
    assert {class_name for class_name, _, _ in declared()} == set(REAL)


@pytest.mark.parametrize(("class_name", "name", "arguments"), declared())
def test_each_private_name_is_there(class_name: str, name: str, arguments: list[str] | None) -> None:
    real = REAL[class_name]
    if arguments is None:
        assert hasattr(real, name) or f"self.{name} = " in source_of(real)
        return
    parameters = inspect.signature(getattr(real, name)).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    assert takes_any or set(arguments) <= set(parameters), f"{name} takes {list(parameters)}"


def test_kombu_remembers_transports_where_we_make_it_forget_them() -> None:
    assert isinstance(transports._transport_cache, dict)  # type: ignore[attr-defined]
    assert transports.TRANSPORT_ALIASES["redis"] == "kombu.transport.redis:Transport"


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (stock.MultiChannelPoller.on_poll_start, ["_update_brpop_polling", "_register_BRPOP", "can_consume"]),
        (stock.MultiChannelPoller._register_BRPOP, ["_in_poll", "_brpop_start"]),  # type: ignore[attr-defined]
        (stock.MultiChannelPoller.on_readable, ["_fd_to_chan", "handlers[type]"]),
        (stock.Channel.close, ["_in_poll", "_disconnect_pools", "super().close()"]),
        (virtual.Channel.close, ["restore_unacked_once", "basic_cancel"]),
        (virtual.Channel.basic_consume, ["self.connection._callbacks[queue]"]),
        (stock.Transport.register_with_event_loop, ["client.connection is connection", "loop.remove(fd)"]),
    ],
)
def test_kombu_still_calls_what_is_overridden(function: Any, words: list[str]) -> None:
    source = inspect.getsource(function)
    assert [word for word in words if word not in source] == []
