"""`moorage put`, `status` and `get`: what a user does with a server, made for people at a terminal and for scripts.

Standard output holds results only: with `--json` one object a file, without it `CID  filename` and the like.
"""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path
from typing import BinaryIO, get_args

import click
import msgspec

from service.client import MoorageClient, TaskError, TaskStatus
from service.client_errors import DONE, FAILED, Answered, ClientError, NotAllowed, NotSent, TaskFailed, Unreachable
from service.client_files import Source, file_source, printable, stream_source, write_stdout, written_file
from service.client_options import EXIT_CODE_HELP, client_options
from service.complain import complain
from service.progress_display import Display, describe, display
from tasks.stores.protocol import Profile

DEFAULT_STREAM_NAME = "upload.bin"


class Report(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What `--json` prints about one file; what is not known is left out."""

    filename: str
    task_id: str | None = None
    state: str | None = None
    cid: str | None = None
    size_bytes: int | None = None
    content_type: str | None = None
    profile: str | None = None
    error: TaskError | None = None
    request_id: str | None = None

    def learn(self, status: TaskStatus) -> None:
        """Takes over what a task's status says."""
        self.task_id, self.state, self.error = status.task_id, status.state, status.error
        if isinstance(status.result, dict):
            for field in ("cid", "filename", "size_bytes", "content_type", "profile"):
                setattr(self, field, status.result.get(field, getattr(self, field)))


@click.command(epilog=EXIT_CODE_HELP)
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--follow", is_flag=True, help="Wait until each file has its CID.")
@click.option("--profile", type=click.Choice(get_args(Profile)), help="How the file becomes a CID.")
@click.option("--name", help="Name for what is read from standard input.  [upload.bin]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per file.")
@client_options
async def put(
    *, client: MoorageClient, files: tuple[str, ...], follow: bool, profile: str | None, name: str | None, as_json: bool
) -> None:
    """Sends files (`-` is standard input). Prints each task's id and file, or with --follow the CID and file."""
    if name and (files != ("-",) or name in (".", "..")):
        raise click.UsageError("--name names standard input: it goes with the one file - and is not . or ..")
    worst = DONE
    hopeless: ClientError | None = None
    for file in files:
        report = Report(filename=name or DEFAULT_STREAM_NAME if file == "-" else printable(Path(file).name))
        error: ClientError | None = None
        try:
            if hopeless:
                raise NotSent(hopeless)
            with closing(display(report.filename)) as shown:
                await put_one(client, _source(file, name), report, shown, follow=follow, profile=profile or "")
        except ClientError as caught:
            error = caught
            worst = worst or caught.exit_code
            _blame(report, caught)
            if not isinstance(caught, NotSent):
                complain(f"{report.filename}: {caught}")
        if as_json:
            click.echo(msgspec.json.encode(report))
        elif error is None:
            click.echo(f"{report.cid if follow else report.task_id}  {report.filename}")
        if isinstance(error, Unreachable | NotAllowed):  # the next file would fare no better
            hopeless = error
    sys.exit(worst)


async def put_one(
    client: MoorageClient, source: Source, report: Report, shown: Display, *, follow: bool, profile: str
) -> None:
    """Sends one file and fills in `report` as more becomes known. Raises ClientError."""
    accepted = await client.upload(source, profile, lambda sent: shown.moved("sent", sent, source.size_bytes))
    report.task_id, report.state = accepted.task_id, accepted.state
    report.filename, report.size_bytes = accepted.filename, accepted.size_bytes
    if follow:
        status = await client.follow(accepted.task_id, shown.task)
        report.learn(status)
        raise_if_failed(status)


@click.command(epilog=EXIT_CODE_HELP)
@click.argument("task_id", metavar="ID")
@click.option("--follow", is_flag=True, help="Wait until the task is done.")
@click.option("--json", "as_json", is_flag=True, help="Print the status as one JSON object.")
@client_options
async def status(*, client: MoorageClient, task_id: str, follow: bool, as_json: bool) -> None:
    """Shows where a task stands."""
    if follow:
        with closing(display(task_id)) as shown:
            found = await client.follow(task_id, shown.task)
    else:
        found = await client.status(task_id)
    if as_json:
        click.echo(msgspec.json.encode(found))
    else:
        click.echo("  ".join(filter(None, (describe(found), found.cid))))
    sys.exit(FAILED if found.state in ("FAILURE", "REVOKED") else DONE)


@click.command(epilog=EXIT_CODE_HELP)
@click.argument("cid", metavar="CID")
@click.option("-o", "--output", required=True, metavar="FILE", help="Where to write; - is standard output.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object when done.")
@client_options
async def get(*, client: MoorageClient, cid: str, output: str, as_json: bool) -> None:
    """Fetches content by its CID. FILE appears only when it is complete."""
    path = cid.removeprefix("ipfs://").removeprefix("/ipfs/")
    to_stdout = output == "-"
    if to_stdout and as_json:
        raise click.UsageError("--json and -o - both want standard output")
    target = _target(output, path)
    with closing(display(path)) as shown:

        def received(done_bytes: int, total_bytes: int | None) -> None:
            shown.moved("received", done_bytes, total_bytes)

        if to_stdout:
            size_bytes = await client.download(path, write_stdout, received)
        else:
            async with written_file(target) as write:
                size_bytes = await client.download(path, write, received)
    if as_json:
        click.echo(msgspec.json.encode({"cid": cid, "filename": str(target), "size_bytes": size_bytes}))


def raise_if_failed(status: TaskStatus) -> None:
    """Raises TaskFailed when the task is done and has not succeeded."""
    if status.is_final and status.state != "SUCCESS":
        error = status.error or TaskError()
        raise TaskFailed(status.state, error.type, error.message)


def _target(output: str, path: str) -> Path:
    """The file to write; in a folder it is named like the last part of `path`."""
    target = Path(output)
    return target / path.rstrip("/").rpartition("/")[2] if target.is_dir() else target


def _source(file: str, name: str | None) -> Source:
    if file != "-":
        return file_source(Path(file))
    stdin: BinaryIO = sys.stdin.buffer
    return stream_source(stdin, name or DEFAULT_STREAM_NAME)


def _blame(report: Report, error: ClientError) -> None:
    """Writes the error into what `--json` prints."""
    if isinstance(error, Answered):
        report.request_id = error.request_id or None
        report.error = TaskError(error.problem_type, error.sentence)
    elif not isinstance(error, TaskFailed):  # whose report has the task's own words already
        report.error = TaskError(error.type, str(error))
