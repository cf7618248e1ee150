from __future__ import annotations

import os
import platform
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from service.broker import BrokerUnavailable, server_binary
from service.cli import main
from service.preflight import AddressUnusable, DataLock, FolderHeld, Holder, free_port, usable_folder


def up(data: Path, *words: str, **env: str) -> Result:
    """`moorage up` that is expected to refuse before it starts anything."""
    return CliRunner().invoke(main, ["up", "--data", str(data), "--port", "0", *words], env=env)


def test_a_port_that_is_taken_is_said(data: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        refused = up(data, "--port", str(port))
    assert refused.exit_code == 1
    assert refused.stderr == (
        f"moorage: cannot listen on 127.0.0.1 port {port}: another program listens there; "
        "stop it or choose another --port\n"
    )
    assert refused.stdout == ""


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_an_address_that_is_not_this_machine_s_is_said(data: Path, host: str) -> None:
    refused = up(data, "--host", host)
    assert refused.exit_code == 1
    assert "; choose another" in refused.stderr


def test_a_folder_that_is_served_already_names_who_serves_it(data: Path) -> None:
    folder = usable_folder(data)
    with DataLock.acquire(folder) as lock:
        lock.sign(Holder(4711, "http://127.0.0.1:8000", 0.0))
        refused = up(data)
        assert refused.exit_code == 1
        assert refused.stderr == (
            f"moorage: {folder} is already served by process 4711 at http://127.0.0.1:8000; "
            "stop it or choose another --data\n"
        )
    with DataLock.acquire(folder):
        pass


def test_a_lock_ends_with_its_process_however_that_ends(data: Path) -> None:
    folder = usable_folder(data)
    program = f"""
import sys
from pathlib import Path
from service.preflight import DataLock
lock = DataLock.acquire(Path({str(folder)!r}))
print("held", flush=True)
sys.stdin.read()
"""
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(FolderHeld, match="another process"):
            DataLock.acquire(folder)
        holder.kill()
        holder.wait()
    with DataLock.acquire(folder):
        pass


def test_a_data_folder_that_cannot_be_one_is_said(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("in the way")
    for data in (file, file / "below"):
        refused = up(data)
        assert refused.exit_code == 1
        assert f"the data folder {data} cannot be used" in refused.stderr
        assert refused.stderr.count("\n") == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_data_folder_without_write_permission_is_said(data: Path) -> None:
    data.mkdir(mode=0o500)
    assert "permission denied; choose another with --data" in up(data).stderr


def test_a_nearly_full_disk_is_said(data: Path) -> None:
    refused = up(data, MOORAGE_MIN_FREE_BYTES=str(2**62))
    assert refused.exit_code == 1
    assert "MiB are free on the volume of" in refused.stderr
    assert f"wants at least {2**62 // 2**20} MiB; make room, or lower MOORAGE_MIN_FREE_BYTES" in refused.stderr


def test_a_platform_without_an_embedded_broker_is_told_of_redis_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(BrokerUnavailable, match=r"no embedded broker for this platform.*REDIS_URL"):
        server_binary()


def test_a_setting_that_does_not_fit_is_wrong_usage(data: Path) -> None:
    refused = CliRunner().invoke(main, ["up", "--data", str(data)], env={"MOORAGE_PORT": "eighty"})
    assert refused.exit_code == 2
    assert "MOORAGE_PORT='eighty' is not usable" in refused.stderr


def test_a_misspelt_setting_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("in the way, so that nothing starts")
    shown = up(file, MOORAGE_PROT="80", MOORAGE_URL="http://known")
    assert shown.stderr.startswith("moorage: MOORAGE_PROT is not a setting of Moorage; did you mean MOORAGE_PORT?\n")
    assert "MOORAGE_URL" not in shown.stderr


def test_the_data_folder_is_made_private(data: Path) -> None:
    usable_folder(data / "deep")
    assert (data / "deep").stat().st_mode & 0o777 == 0o700
    shutil.rmtree(data)


def test_port_0_is_some_free_port() -> None:
    port = free_port("127.0.0.1", 0)
    assert port > 0
    assert free_port("127.0.0.1", port) == port
    with pytest.raises(AddressUnusable):
        free_port("192.0.2.1", 0)
