from __future__ import annotations

from typing import Annotated, Any

import msgspec
import pytest

from tasks.actor import ACTORS, Actor, actor
from tasks.app import app
from tasks.errors import InvalidArguments
from tasks.job import Job
from tasks.queues import UPLOAD
from tasks.retries import RetryPolicy


def declared(body: Any) -> Actor:
    """An actor that is known to this test only."""
    return Actor(body, queue=UPLOAD, durable=False, retries=RetryPolicy(), keep_result=True)


async def save(
    job: Job, name: str, size: Annotated[int, msgspec.Meta(ge=0)], kind: str = "file", parts: list[int] | None = None
) -> None:
    """Takes arguments of many kinds."""


def test_arguments_are_checked_and_filled_up() -> None:
    assert declared(save).check({"name": "a", "size": 1}) == {"name": "a", "size": 1, "kind": "file", "parts": None}


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"name": "a"}, "size"),
        ({"name": "a", "size": "1"}, "size"),
        ({"name": "a", "size": -1}, "size"),
        ({"name": "a", "size": 1, "sise": 2}, "sise"),
        ({"name": "a", "size": 1, "parts": ["x"]}, "parts"),
        ({"name": "a", "size": 1, "job": 1}, "job"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_by_name(arguments: dict[str, Any], word: str) -> None:
    with pytest.raises(InvalidArguments, match=word) as refused:
        declared(save).check(arguments)
    assert refused.value.actor == "save"


def test_a_queue_nobody_declared_is_refused_when_the_program_starts() -> None:
    with pytest.raises(ValueError, match="actor save: no queue 'uplaod'; there are upload, pinning, upkeep, schedule"):
        actor(queue="uplaod")(save)
    assert "save" not in ACTORS
    assert "save" not in app.tasks


def test_a_misspelt_option_is_refused_when_the_program_starts() -> None:
    with pytest.raises(TypeError, match="max_retry"):
        actor(queue=UPLOAD, max_retry=3)(save)  # type: ignore[call-arg]


def test_an_argument_without_a_type_is_refused_when_the_program_starts() -> None:
    async def vague(job: Job, name) -> None:  # type: ignore[no-untyped-def]
        """Leaves open what it takes."""

    with pytest.raises(TypeError, match="actor vague: argument name has no type"):
        actor(queue=UPLOAD)(vague)
    assert "vague" not in ACTORS


def test_a_second_actor_of_the_same_name_is_refused_when_the_program_starts() -> None:
    app.loader.import_default_modules()

    async def ingest(job: Job) -> None:
        """Another body under a name that is taken."""

    with pytest.raises(ValueError, match="actor ingest: declared twice"):
        actor(queue=UPLOAD)(ingest)


def test_every_actor_is_a_celery_task_of_its_name() -> None:
    app.loader.import_default_modules()
    assert {"ingest", "reconcile", "sweep", "add", "echo", "sleep", "long", "fail"} <= set(ACTORS)
    assert set(ACTORS) <= set(app.tasks)
    assert all(app.tasks[name].ignore_result == (not ACTORS[name].keep_result) for name in ACTORS)


def test_arguments_that_do_not_fit_are_never_retried() -> None:
    app.loader.import_default_modules()
    error = InvalidArguments("x", "y")
    assert all(declared.retries.never_retry[0] is InvalidArguments for declared in ACTORS.values())
    assert isinstance(error, ACTORS["ingest"].retries.never_retry)
