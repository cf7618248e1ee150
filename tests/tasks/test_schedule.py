from __future__ import annotations

from tasks.actor import ACTORS
from tasks.app import app, configure
from tasks.queues import SCHEDULE
from tasks.schedule import ENTRIES, beat_schedule
from tasks.settings import TaskSettings


def test_beat_sends_actors_that_exist_to_the_queue_they_are_declared_for() -> None:
    app.loader.import_default_modules()
    for name, entry in beat_schedule().items():
        assert entry["task"] == name
        assert ACTORS[name].queue == entry["options"]["queue"] == SCHEDULE
        assert not ACTORS[name].keep_result, "nobody asks how it went"
        assert ACTORS[name].retries.max_retries == 0, "the next one does its work"


def test_a_message_nobody_took_is_dropped_when_the_next_one_comes() -> None:
    periods = {entry.actor: entry.every_seconds for entry in ENTRIES}
    assert {name: entry["schedule"] for name, entry in beat_schedule().items()} == periods
    assert {name: entry["options"]["expires"] for name, entry in beat_schedule().items()} == periods


def test_lost_messages_are_looked_for_more_often_than_a_lease_lasts() -> None:
    periods = {entry.actor: entry.every_seconds for entry in ENTRIES}
    assert periods["reconcile"] < TaskSettings().lease_seconds
    assert periods["reconcile"] < TaskSettings().resend_after_seconds


def test_the_application_knows_the_schedule(task_settings: TaskSettings) -> None:
    assert configure(task_settings).conf.beat_schedule == beat_schedule()
