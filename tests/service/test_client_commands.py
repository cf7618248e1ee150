from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from service.cli import COMMANDS, main
from service.client_settings import ClientSettings
from tests.service.fake_moorage import CID, Answer, FakeMoorage, problem, succeeded, task


def run(moorage: FakeMoorage | str, *words: str, stdin: bytes = b"", **env: str) -> Result:
    """The command line as a user calls it, but in this process: a new one costs half a second."""
    url = moorage if isinstance(moorage, str) else moorage.url
    return CliRunner().invoke(main, words, input=stdin, env={"MOORAGE_URL": url, **env})


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith("MOORAGE_"):
            monkeypatch.delenv(name)
    folder = tmp_path / "cwd"
    folder.mkdir()
    monkeypatch.chdir(folder)


@pytest.fixture
def big(tmp_path: Path) -> Path:
    file = tmp_path / "big file ü#?.iso"
    file.write_bytes(os.urandom(3 * 1024 * 1024 + 7))
    return file


def test_put_sends_the_file_as_it_is_under_its_name_and_prints_the_task(moorage: FakeMoorage, big: Path) -> None:
    result = run(moorage, "put", str(big), "--profile", "unixfs-v0-2015", "--key", "ipfs_gw_secret")
    assert (result.exit_code, result.stdout) == (0, f"task-1  {big.name}\n")
    [seen] = moorage.seen
    assert (seen.method, seen.query) == ("PUT", "profile=unixfs-v0-2015")
    assert seen.path == "/api/v1/uploads/big%20file%20%C3%BC%23%3F.iso"
    assert seen.headers["content-length"] == str(big.stat().st_size)
    assert seen.headers["x-api-key"] == "ipfs_gw_secret"
    assert seen.body == big.read_bytes()


def test_put_follow_prints_the_cid_and_tells_what_happens_on_standard_error(moorage: FakeMoorage, big: Path) -> None:
    moorage.will(Answer(202, b'{"task_id": "task-1", "state": "PENDING", "filename": "b.iso", "size_bytes": 3}'))
    moorage.will(task("PENDING", progress=0), task("PROGRESS", progress=50, message="hashing"), succeeded())
    result = run(moorage, "put", "--follow", str(big))
    assert (result.exit_code, result.stdout) == (0, f"{CID}  b.iso\n")
    lines = result.stderr.splitlines()
    assert f"{big.name}: sent 100 %: 3.0 MiB of 3.0 MiB" in lines
    assert lines[-3:] == [
        f"{big.name}: PENDING 0 %",
        f"{big.name}: PROGRESS 50 %: hashing",
        f"{big.name}: SUCCESS: done",
    ]
    assert len(lines) < 20


def test_put_json_prints_one_object_per_file_and_nothing_else(moorage: FakeMoorage, big: Path, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.write_bytes(b"")
    result = run(moorage, "put", "--json", str(big), str(small))
    assert result.exit_code == 0
    first, second = map(json.loads, result.stdout.splitlines())
    assert first == {"filename": big.name, "task_id": "task-1", "state": "PENDING", "size_bytes": big.stat().st_size}
    assert second["size_bytes"] == 0


def test_put_json_follow_holds_what_the_task_found(moorage: FakeMoorage, big: Path) -> None:
    moorage.will(Answer(202, b'{"task_id": "task-1", "state": "PENDING", "filename": "b.iso", "size_bytes": 3}'))
    moorage.will(succeeded(filename="b.iso", size_bytes=3, content_type="application/x", profile="unixfs-v1-2025"))
    result = run(moorage, "put", "--json", "--follow", str(big))
    assert json.loads(result.stdout) == {
        "filename": "b.iso", "task_id": "task-1", "state": "SUCCESS", "cid": CID, "size_bytes": 3,
        "content_type": "application/x", "profile": "unixfs-v1-2025",
    }  # fmt: skip


def test_put_reads_standard_input_in_pieces_when_its_size_is_unknown(moorage: FakeMoorage) -> None:
    result = run(moorage, "put", "-", "--name", "backup.tar", stdin=b"x" * 3_000_000)
    assert (result.exit_code, result.stdout) == (0, "task-1  backup.tar\n")
    [seen] = moorage.seen
    assert seen.headers["transfer-encoding"] == "chunked"
    assert len(seen.body) == 3_000_000


def test_a_failed_task_is_exit_code_1_with_its_reason(moorage: FakeMoorage, big: Path) -> None:
    failure = task("FAILURE", progress=3, error={"type": "DiskFull", "message": "the data volume is full"})
    for words in (("put", "--follow"), ("put", "--follow", "--json")):
        moorage.will(Answer(202, b'{"task_id": "task-1", "state": "PENDING", "filename": "b.iso", "size_bytes": 3}'))
        moorage.will(failure)
        result = run(moorage, *words, str(big))
        assert result.exit_code == 1
        assert "moorage: b.iso: the data volume is full" in result.stderr
    report = json.loads(result.stdout)
    assert report["state"] == "FAILURE"
    assert report["error"] == {"type": "DiskFull", "message": "the data volume is full"}


def test_a_refusal_is_the_server_s_sentence_with_the_request_id(moorage: FakeMoorage, big: Path) -> None:
    moorage.will(problem(413, "Uploads may have 5 bytes at most."))
    result = run(moorage, "put", "--json", str(big))
    assert result.exit_code == 1
    assert "Uploads may have 5 bytes at most (request req-1)" in result.stderr
    assert json.loads(result.stdout) == {
        "filename": big.name,
        "error": {"type": "urn:moorage:problem:test", "message": "Uploads may have 5 bytes at most"},
        "request_id": "req-1",
    }


def test_a_busy_server_is_not_sent_an_upload_twice(moorage: FakeMoorage, big: Path) -> None:
    moorage.will(problem(429, "All upload slots are taken.", Retry_After="0"))
    result = run(moorage, "put", str(big))
    assert (result.exit_code, len(moorage.seen)) == (1, 1)


def test_a_bad_file_does_not_keep_the_others_from_being_sent(moorage: FakeMoorage, big: Path, tmp_path: Path) -> None:
    result = run(moorage, "put", str(tmp_path / "missing"), str(tmp_path), str(big))
    assert (result.exit_code, result.stdout) == (1, f"task-1  {big.name}\n")
    assert f"there is no file {tmp_path / 'missing'}" in result.stderr
    assert f"{tmp_path} is not a file" in result.stderr


@pytest.mark.parametrize(("status", "code"), [(401, 5), (403, 5), (404, 4), (500, 1), (507, 1)])
def test_answers_have_exit_codes(moorage: FakeMoorage, status: int, code: int) -> None:
    moorage.will(problem(status, "Because."))
    result = run(moorage, "status", "task-1")
    assert (result.exit_code, result.stdout) == (code, "")
    assert result.stderr == "moorage: Because (request req-1)\n"


def test_without_the_right_key_the_remaining_files_are_not_sent(moorage: FakeMoorage, big: Path) -> None:
    moorage.will(problem(401, "A valid key is needed."))
    assert run(moorage, "put", str(big), str(big)).exit_code == 5
    assert len(moorage.seen) == 1


def test_an_answer_that_is_not_moorage_s_is_described(moorage: FakeMoorage) -> None:
    moorage.will(Answer(502, b"<html>Bad gateway</html>", {"X-Request-ID": "edge-7"}))
    assert run(moorage, "status", "task-1").stderr == "moorage: the server answered 502 Bad Gateway (request edge-7)\n"
    moorage.will(Answer(200, b"<html>Welcome to nginx</html>"))
    assert "does not speak like Moorage" in run(moorage, "status", "task-1").stderr


def test_nobody_there_is_exit_code_3_and_says_how_to_start_it(big: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
    for words in (("put", str(big), str(big)), ("status", "task-1"), ("get", "cid", "-o", "-")):
        result = run(url, *words)
        assert result.exit_code == 3
        assert result.stderr.count(f"no Moorage answers at {url}; start it with `moorage up`") == 1


def test_status_shows_state_progress_and_cid(moorage: FakeMoorage) -> None:
    moorage.will(task("PROGRESS", progress=40.0, message="hashing"), succeeded())
    assert run(moorage, "status", "task-1").stdout == "PROGRESS 40 %: hashing\n"
    assert run(moorage, "status", "task-1").stdout == f"SUCCESS: done  {CID}\n"


def test_status_follow_json_prints_only_the_last_status(moorage: FakeMoorage) -> None:
    moorage.will(task("PENDING", progress=0), succeeded())
    result = run(moorage, "status", "task-1", "--follow", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["result"] == {"cid": CID}


@pytest.mark.parametrize("state", ["FAILURE", "REVOKED"])
def test_status_of_a_task_that_failed_is_exit_code_1(moorage: FakeMoorage, state: str) -> None:
    moorage.will(task(state))
    assert run(moorage, "status", "task-1").exit_code == 1


def test_a_poll_is_tried_again_when_the_server_is_busy_or_restarts(moorage: FakeMoorage) -> None:
    moorage.will(problem(429, "Slower.", Retry_After="0"), problem(503, "Catalog away.", Retry_After="0"))
    moorage.will(task("PENDING"), Answer(200, b"{}" * 10, cut_after=3), succeeded())
    result = run(moorage, "status", "task-1", "--follow")
    assert (result.exit_code, len(moorage.seen)) == (0, 5)


def test_a_server_that_stays_busy_is_given_up(moorage: FakeMoorage) -> None:
    moorage.will(*[problem(503, "Catalog away.", Retry_After="0")] * 10)
    result = run(moorage, "status", "task-1")
    assert (result.exit_code, len(moorage.seen)) == (1, 6)


def test_a_server_that_asks_for_an_hour_is_taken_at_its_word(moorage: FakeMoorage) -> None:
    moorage.will(problem(429, "Come back later.", Retry_After="3600"))
    assert run(moorage, "status", "task-1").exit_code == 1


def test_get_writes_the_file_when_it_is_whole(moorage: FakeMoorage, tmp_path: Path) -> None:
    content = os.urandom(2_500_000)
    moorage.will(Answer(body=content))
    target = tmp_path / "out.iso"
    result = run(moorage, "get", f"/ipfs/{CID}", "-o", str(target), "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {"cid": f"/ipfs/{CID}", "filename": str(target), "size_bytes": len(content)}
    assert moorage.seen[0].path == f"/ipfs/{CID}"
    assert target.read_bytes() == content
    assert not list(tmp_path.glob("*.part"))


def test_get_into_a_folder_names_the_file_by_its_cid(moorage: FakeMoorage, tmp_path: Path) -> None:
    moorage.will(Answer(body=b"content"))
    assert run(moorage, "get", CID, "-o", str(tmp_path)).exit_code == 0
    assert (tmp_path / CID).read_bytes() == b"content"


def test_get_to_standard_output_writes_the_bytes_and_nothing_else(moorage: FakeMoorage) -> None:
    content = bytes(range(256)) * 1000
    moorage.will(Answer(body=content))
    assert run(moorage, "get", CID, "-o", "-").stdout_bytes == content


def test_a_download_that_breaks_off_leaves_the_old_file_and_no_part(moorage: FakeMoorage, tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.write_bytes(b"old")
    moorage.will(Answer(body=b"x" * 100_000, cut_after=5_000), Answer(206, b"x" * 95_000))
    result = run(moorage, "get", CID, "-o", str(target))
    assert result.exit_code == 3
    assert "broke while" in result.stderr
    assert target.read_bytes() == b"old"
    assert not list(tmp_path.glob("*.part"))


def test_a_place_that_cannot_be_written_is_a_sentence(moorage: FakeMoorage, tmp_path: Path) -> None:
    moorage.will(Answer(body=b"content"))
    result = run(moorage, "get", CID, "-o", str(tmp_path / "missing" / "out"))
    assert result.exit_code == 1
    assert "cannot be written: No such file or directory" in result.stderr


def test_the_key_of_this_machine_s_data_folder_goes_to_this_machine_only(moorage: FakeMoorage) -> None:
    Path(".moorage").mkdir()
    Path(".moorage/api-key").write_text("ipfs_gw_local\n")
    run(moorage, "status", "task-1")
    assert moorage.seen[-1].headers["x-api-key"] == "ipfs_gw_local"
    run(moorage, "status", "task-1", MOORAGE_API_KEY="ipfs_gw_given")
    assert moorage.seen[-1].headers["x-api-key"] == "ipfs_gw_given"

    elsewhere = ClientSettings(url="http://moorage.example:8000", data=Path(".moorage"))
    assert elsewhere.effective_key == ""


@pytest.mark.parametrize(
    "words",
    [
        ("put",),
        ("put", "a", "b", "--name", "x"),
        ("put", "-", "--name", ".."),
        ("get", "cid"),
        ("get", "cid", "-o", "-", "--json"),
        ("status", "task-1", "--url", "moorage.example"),
        ("status", "task-1", "--key", "two\nlines"),
        ("worker", "--queues", "uplod"),
        ("statsu",),
    ],
)
def test_wrong_usage_is_exit_code_2(words: tuple[str, ...]) -> None:
    assert run("http://127.0.0.1:1", *words).exit_code == 2


def test_misspelt_names_are_answered_with_the_closest_known_one() -> None:
    assert "Did you mean status?" in run("", "statsu").stderr
    assert "did you mean upload?" in run("", "worker", "--queues", "uplod").stderr


def test_the_overview_names_every_command_without_loading_any() -> None:
    code = """
import sys
from service.cli import COMMANDS, main
main(["--help"], standalone_mode=False)
heavy = {"httpx", "redis", "celery", "litestar", "sqlalchemy", "rich"} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    for name in ("up", "api", "worker", "beat", "put", "status", "get"):
        assert f"\n  {name} " in done.stdout


def test_every_command_s_help_can_be_shown_and_the_client_s_names_the_exit_codes() -> None:
    for name in COMMANDS:
        shown = CliRunner().invoke(main, [name, "--help"])
        assert shown.exit_code == 0, shown.output
    assert "5  not allowed (401, 403)" in CliRunner().invoke(main, ["put", "--help"]).output
