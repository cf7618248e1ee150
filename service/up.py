"""`moorage up`: all parts on one machine, under one supervisor, in one log stream, with a clean stop.

    preflight ─▶ broker ─▶ prepare (catalog, owner's key) ─▶ api, workers, beat ─▶ /readyz ─▶ banner ─▶ serve ─▶ stop

The log goes to standard output, words for the user to standard error. Exit codes: 0 after an orderly stop, 1 when it
could not start, 2 for wrong usage.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import sys
import time
from pathlib import Path

import click
import msgspec

from observability.logs import LogSettings
from service.broker import BrokerUnavailable, embedded_broker, server_binary
from service.complain import complain
from service.log_stream import LogFormat, LogStream
from service.preflight import DataLock, Holder, Refused, check_room, free_port, usable_folder
from service.settings import ServiceSettings
from service.supervisor import NeverReady, Supervisor
from service.unknown_settings import notices
from service.up_parts import WORKER_QUEUES, Plan, broker_part, moorage_parts
from tasks.clock import SystemClock
from tasks.errors import MoorageError
from tasks.settings import TaskSettings, read

ROLES = ("broker", "api", *WORKER_QUEUES, "beat")
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
OWN_BROKER = ("REDIS_URL", "MOORAGE_REDIS_URL")


class Settings(msgspec.Struct, frozen=True):
    """All that `up` reads from the environment, with its options laid over it."""

    environ: dict[str, str]
    service: ServiceSettings
    tasks: TaskSettings
    log_format: LogFormat


@click.command()
@click.option("--data", metavar="DIR", help="Folder that keeps everything.  [MOORAGE_DATA; .moorage]")
@click.option("--host", help="Address to listen on.  [MOORAGE_HOST; 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="Port; 0 takes a free one.  [MOORAGE_PORT; 8000]")
@click.option("--log-format", type=click.Choice(("auto", "console", "json")), help="[MOORAGE_LOG_FORMAT; auto]")
@click.option("--put", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Send this file once ready.")
def up(data: str | None, host: str | None, port: int | None, log_format: str | None, put: Path | None) -> None:
    """Runs all parts on this machine until Ctrl-C."""
    os.umask(0o077)  # what is kept says who sent what: it is its user's alone, whatever mode the folder came with
    options = {"DATA": data, "HOST": host, "PORT": port, "LOG_FORMAT": log_format}
    settings = _settings({f"MOORAGE_{name}": str(value) for name, value in options.items() if value is not None})
    for notice in notices(settings.environ):
        complain(notice)
    try:
        folder = usable_folder(settings.tasks.data)
        with DataLock.acquire(folder) as lock:
            plan = make_plan(settings, folder)
            lock.sign(Holder(os.getpid(), plan.address, time.time()))
            asyncio.run(serve(plan, settings, put))
    except NeverReady as error:
        complain(f"{error}. It said last:")
        for line in error.last_lines:
            click.echo(f"    {line}", err=True)
        sys.exit(1)
    except (Refused, BrokerUnavailable, MoorageError) as error:
        complain(str(error))
        sys.exit(1)


def make_plan(settings: Settings, folder: Path) -> Plan:
    """Decides everything that can be decided before a part starts. Raises Refused, BrokerUnavailable."""
    service, environ = settings.service, settings.environ
    check_room(folder, service.min_free_bytes)
    broker = None
    if not any(environ.get(name) for name in OWN_BROKER):
        server_binary()
        broker = embedded_broker(folder, environ)
    return Plan(
        data=folder,
        host=service.host,
        port=free_port(service.host, service.port),
        log_format=settings.log_format,
        shutdown_seconds=service.shutdown_seconds,
        shutdown_grace_seconds=settings.tasks.shutdown_grace_seconds,
        broker=broker,
        environ=environ,
    )


async def serve(plan: Plan, settings: Settings, put: Path | None) -> None:
    """Runs all parts until a stop signal. Raises NeverReady, BrokerUnavailable, MoorageError."""
    clock = SystemClock()
    colours = sys.stdout.isatty() and "NO_COLOR" not in plan.environ
    log = LogStream(sys.stdout.buffer, settings.log_format, ROLES, clock, colours=colours)
    supervisor = Supervisor(log, clock)
    loop = asyncio.get_running_loop()
    asked_to_stop = False

    def stop() -> None:
        nonlocal asked_to_stop
        log.say("not waiting any longer" if asked_to_stop else "stopping; Ctrl-C again does not wait")
        asked_to_stop = True
        supervisor.stop()

    for number in STOP_SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # `nohup` means it
            loop.add_signal_handler(number, stop)
    try:
        await supervisor.run(start_parts(supervisor, log, plan, settings, put))
        log.say("stopped")
    finally:
        log.close()


async def start_parts(supervisor: Supervisor, log: LogStream, plan: Plan, settings: Settings, put: Path | None) -> None:
    """Starts everything in order, says when it is ready, and sends `put`."""
    from service.bootstrap import prepare

    if plan.broker:
        supervisor.keep(broker_part(plan.broker, plan))
        await supervisor.ready("broker")
    key_file = await prepare(plan.data, settings.tasks.database_url)
    parts = moorage_parts(plan)
    for part in parts:
        supervisor.keep(part)
    for part in parts:
        if part.is_ready:
            await supervisor.ready(part.name)
    shown_key_file = settings.tasks.data / key_file.name
    log.say("ready", address=plan.address, docs=f"{plan.address}/docs", key_file=str(shown_key_file))
    click.echo(banner(plan.address, shown_key_file), err=True)
    if put:
        await _put(plan.address, key_file, shown_key_file, put)


def banner(address: str, key_file: Path) -> str:
    """What a user needs to begin."""
    return f"""
Moorage is ready at {address}
  API docs   {address}/docs
  your key   {key_file}

Send a file:

  curl -T big.iso -H "{_key_header(key_file)}" {address}/api/v1/uploads/

Ctrl-C stops everything.
"""


async def _put(address: str, key_file: Path, shown_key_file: Path, file: Path) -> None:
    """Sends the file of `--put` and shows how to fetch it. A failure is said, and the serving goes on."""
    from service.client import MoorageClient
    from service.client_commands import Report, put_one
    from service.client_errors import ClientError
    from service.client_files import file_source
    from service.progress_display import PlainDisplay

    shown = PlainDisplay(file.name, sys.stderr, SystemClock())  # bars would be torn apart by the log
    report = Report(filename=file.name)
    try:
        async with MoorageClient(address, key_file.read_text().strip()) as client:  # noqa: ASYNC240 - a line
            await put_one(client, file_source(file), report, shown, follow=True, profile="")
    except ClientError as error:
        complain(f"{file}: {error}")
        return
    # Neither the sender's own file is overwritten, in whose folder this may be run, nor is an error taken for content.
    copy = shlex.quote(f"{report.filename}.copy")
    fetch = f'curl -f -H "{_key_header(shown_key_file)}" {address}/ipfs/{report.cid} -o {copy}'
    click.echo(f"\n{report.filename} is now {report.cid}. Fetch it:\n\n  {fetch}\n", err=True)


def _key_header(key_file: Path) -> str:
    return f"X-API-Key: $(cat {shlex.quote(str(key_file))})"


def _settings(given: dict[str, str]) -> Settings:
    """Reads the environment, an option winning over its variable. Raises InvalidSetting."""
    environ = {**os.environ, **given}
    chosen = read(LogSettings, environ).log_format
    console = chosen == "console" or (chosen == "auto" and sys.stdout.isatty())
    return Settings(
        environ=environ,
        service=read(ServiceSettings, environ),
        tasks=read(TaskSettings, environ),
        log_format="console" if console else "json",
    )
