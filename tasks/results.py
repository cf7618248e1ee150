"""Celery's Redis result backend, for tasks that run on an event loop: what ends together is stored together.

Inside a trace on the pool's loop a result is stored by a thread while the loop goes on, in one round trip with all that
came in meanwhile; anywhere else as Celery does it. What was stored with its record (`result_copies.py`) is left alone.
Keys, values, expiry, notifications, retries and the rule that a SUCCESS stays are Celery's, so every reader works as
before.
"""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, tzinfo
from functools import cached_property
from importlib import resources
from typing import Any

from celery import states
from celery.backends.redis import RedisBackend, SentinelBackend
from celery.exceptions import BackendError
from celery.utils.log import get_logger
from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import JSONEncoder
from redis.exceptions import RedisError

from tasks.batching import Batches
from tasks.pool import await_, in_trace
from tasks.result_copies import MOST_BYTES, Stored, is_stored

log = get_logger(__name__)

_encode_json = JSONEncoder().encode
"""As Celery encodes, which makes itself an encoder for each result."""


_Stock: Any = RedisBackend  # most of what is leaned on here is not in the type stubs
_StockSentinel: Any = SentinelBackend


class StoredTogether(_Stock):  # type: ignore[misc]
    """The part that is the same with and without Sentinel."""

    def store_result(self, task_id: str, result: Any, state: str, *rest: Any, request: Any = None, **more: Any) -> Any:
        """Stores a result, or a failure. Where the outcome is written down elsewhere too (`result_is_a_copy` of the
        task), a store that is out of reach does not make a failure of it."""
        try:
            return super().store_result(task_id, result, state, *rest, request=request, **more)
        except (BackendError, RedisError, OSError) as error:
            task = self.app.tasks.get(getattr(request, "task", None))
            if not getattr(task, "result_is_a_copy", False):
                raise
            log.warning("result of %s not stored: %s", task_id, type(error).__name__)
            return result

    def _store_result(
        self, task_id: str, result: Any, state: str, traceback: Any = None, request: Any = None, **more: Any
    ) -> Any:
        if is_stored(request):
            return result
        if not in_trace():
            return super()._store_result(task_id, result, state, traceback, request=request, **more)
        stored = self.prepared(task_id, result, request, state, traceback)
        if len(stored.body) > MOST_BYTES:
            await_(asyncio.to_thread(super()._store_result, task_id, result, state, traceback, request=request))
        else:
            await_(self._batches.ask(stored))
        return result

    def prepared(
        self, task_id: str, result: Any, request: Any, state: str = states.SUCCESS, traceback: Any = None
    ) -> Stored:
        """A result as Celery would store it."""
        meta = self._get_result_meta(result=result, state=state, traceback=traceback, request=request)
        meta["task_id"] = bytes_to_str(task_id)
        expires_seconds = self.failure_expires if state == states.FAILURE else self.expires
        return Stored(self.get_key_for_task(task_id), self._encoded(meta), expires_seconds or 0)

    def _encoded(self, meta: dict[str, Any]) -> str | bytes:
        if self.serializer == "json" and not self.compression:
            with contextlib.suppress(TypeError):  # Celery has an error of its own for what cannot be encoded
                return _encode_json(meta)
        body: str | bytes = self.encode(meta)
        return body

    def _get_result_meta(self, result: Any, state: str, traceback: Any, request: Any, **more: Any) -> Any:
        if self._is_extended or request is None or state not in self.READY_STATES:
            return super()._get_result_meta(result, state, traceback, request, **more)
        meta = {  # the same, without asking the configuration and two time zones for every result
            "status": state,
            "result": result,
            "traceback": traceback,
            "children": self.current_task_children(request),
            "date_done": datetime.now(self._timezone).isoformat(),
        }
        named = {"group_id": getattr(request, "group", None), "parent_id": getattr(request, "parent_id", None)}
        return meta | {name: value for name, value in named.items() if value}

    @cached_property
    def _timezone(self) -> tzinfo:
        zone: tzinfo = self.app.timezone
        return zone

    @cached_property
    def _is_extended(self) -> bool:
        return bool(self.app.conf.find_value_for_key("extended", "result"))

    def on_chord_part_return(self, request: Any, state: str, result: Any, **more: Any) -> None:
        """Counts a chord's part, and starts its body after the last: many round trips, which a thread waits for."""
        count = super().on_chord_part_return
        if in_trace() and request.group:
            await_(asyncio.to_thread(count, request, state, result, **more))
        else:
            count(request, state, result, **more)

    @cached_property
    def _batches(self) -> Batches[Stored, None]:
        thread = ThreadPoolExecutor(1, "celery-results")  # of its own: the loop's threads may all be at work

        async def store(results: list[Stored]) -> list[None]:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(thread, lambda: self.ensure(self._store_many, (results,)))
            return [None] * len(results)

        return Batches(store)

    @cached_property
    def _store_script(self) -> Any:
        return self.client.register_script(resources.files("tasks").joinpath("lua/store_results.lua").read_text())

    def _store_many(self, results: list[Stored]) -> None:
        others = self._called(results, replace=False)
        found = zip(others[0::2], others[1::2], strict=True)
        giving_way = [results[at - 1] for at, body in found if self.decode_result(body)["status"] != states.SUCCESS]
        if giving_way:
            self._called(giving_way, replace=True)

    def _called(self, results: list[Stored], *, replace: bool) -> Any:
        arguments: list[str | bytes | int] = [int(replace)]
        for stored in results:
            arguments += (stored.body, stored.expires_seconds)
        return self._store_script(keys=[stored.key for stored in results], args=arguments)


class Results(StoredTogether):
    """Results on one server. Celery calls it when its loader's `override_backends` says so, see `tasks/app.py`."""


class SentinelResults(StoredTogether, _StockSentinel):  # type: ignore[misc]
    """Results on the server that Sentinel names."""
