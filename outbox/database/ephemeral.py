"""A throw-away PostgreSQL for tests and benches: in a temporary folder, without fsync, dead when its owner is."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from outbox.database.binaries import (
    CLUSTER_LOCALE,
    Account,
    ServerError,
    give_to,
    run,
    runnable_programs,
    server_process_options,
)
from outbox.database.embedded import free_port

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
SWEEP_AFTER_S = 120  # a folder younger than this may not have its lock yet
FOLDERS = Path("/tmp")  # noqa: S108 - mkdtemp makes the names
MEMORY = Path("/dev/shm")  # noqa: S108 - as above
MEMORY_FREE_BYTES = 6 << 30  # 1 GB of WAL, a million rows, the largest tests, and as much again
FOLDER_PREFIX = "outbox-ephemeral-"
PR_SET_PDEATHSIG = 1  # linux/prctl.h


@contextlib.contextmanager
def ephemeral_server(
    settings: Mapping[str, str] | None = None,
    *,
    durable: bool = False,
    in_memory: bool = False,
    programs: Path | None = None,
) -> Iterator[str]:
    """Yield the superuser's URL of a new, empty server (database `postgres`); everything is gone after the block.

    `settings` are postgresql.conf settings. `durable` keeps fsync on, for benches. `in_memory` keeps the
    data in memory where that has room: a database is then made in 0.04 to 0.07 s, on ext4 in 0.07 to 0.5 s.
    `programs` is the bin folder of another PostgreSQL than the extra's. Anybody on this machine may connect
    without a password. Call it from the main thread: on Linux the server ends with the thread that started it.
    Raises UsageError (extra not installed) or ServerError (PostgreSQL said no).
    """
    account = Account.for_server()
    _sweep()
    with contextlib.ExitStack() as stack:
        # Not TMPDIR: pytest and CI point it at folders that nobody cannot enter.
        home = stack.enter_context(_folder(FOLDERS))
        programs = programs or runnable_programs(home, account)
        # Only the data: programs may not run from there.
        data = (stack.enter_context(_folder(MEMORY)) if in_memory and _memory_has_room() else home) / "data"
        data.mkdir(mode=0o700)
        give_to(account, data)
        _initdb(programs, data, account)
        port = free_port()
        chosen = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(data),
            "timezone": "UTC",
            "log_timezone": "UTC",
            "port": str(port),
        }
        if not durable:
            # synchronous_commit stays on: a test that kills the server must find every commit again.
            chosen |= {"fsync": "off", "full_page_writes": "off"}
        chosen |= settings or {}
        with _foreground(programs, data, home / "postgres.log", chosen, account):
            yield f"postgresql://postgres@127.0.0.1:{port}/postgres"


@contextlib.contextmanager
def _folder(parent: Path) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX, dir=parent))
    folder.chmod(0o711)
    lock = _lock(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _memory_has_room() -> bool:
    try:
        mounts = Path("/proc/mounts").read_text().splitlines()
        memory = Path("/proc/meminfo").read_text().splitlines()
        available = next(int(line.split()[1]) << 10 for line in memory if line.startswith("MemAvailable:"))
        free = shutil.disk_usage(MEMORY).free
    except (OSError, StopIteration):
        return False
    is_memory = any(line.split()[1:3] == [str(MEMORY), "tmpfs"] for line in mounts)
    return is_memory and min(free, available) >= MEMORY_FREE_BYTES


def _lock(home: Path) -> int:
    lock = os.open(home / "owner.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return lock


def _sweep() -> None:
    """Remove the folders of owners that were killed: their servers ended with them, their files did not."""
    for home in (*FOLDERS.glob(f"{FOLDER_PREFIX}*"), *MEMORY.glob(f"{FOLDER_PREFIX}*")):
        with contextlib.suppress(OSError):  # another user's, locked, or swept by somebody else just now
            if home.stat().st_uid != os.geteuid() or time.time() - home.stat().st_mtime < SWEEP_AFTER_S:
                continue
            os.close(_lock(home))
            shutil.rmtree(home, ignore_errors=True)


def _initdb(programs: Path, data: Path, account: Account | None) -> None:
    command = [
        str(programs / "initdb"),
        "-D",
        str(data),
        "-U",
        "postgres",
        "-A",
        "trust",
        "--no-sync",
        *_locale(programs),
    ]
    done = run(command, account)
    if done.returncode != 0:
        raise ServerError(f"initdb failed: {done.stderr.strip()}")


def _locale(programs: Path) -> tuple[str, ...]:
    version = subprocess.check_output([str(programs / "postgres"), "--version"], text=True)  # noqa: S603 - a path of ours
    major = int(version.split()[2].partition(".")[0])
    return CLUSTER_LOCALE if major >= 17 else ("-E", "UTF8", "--locale=C")  # the builtin provider came with 17


@contextlib.contextmanager
def _foreground(
    programs: Path, data: Path, log: Path, settings: Mapping[str, str], account: Account | None
) -> Iterator[None]:
    command = [str(programs / "postgres"), "-D", str(data)]
    for name, value in settings.items():
        command += ["-c", f"{name}={value}"]
    with log.open("wb") as output:
        server = subprocess.Popen(  # noqa: S603 - our own command
            command,
            stdout=output,
            stderr=output,
            # Its own session: Ctrl-C in the terminal is for the test runner, which then stops the server itself.
            start_new_session=True,
            preexec_fn=_end_with_parent(),
            **server_process_options(account),
        )
    try:
        _wait_until_ready(server, data, log)
        yield
    finally:
        server.send_signal(signal.SIGINT)
        try:
            server.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            server.send_signal(signal.SIGQUIT)
            server.wait(STOP_TIMEOUT_S)


def _end_with_parent() -> Callable[[], None] | None:
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl  # looked up here: after the fork nothing may be loaded
    return lambda: prctl(PR_SET_PDEATHSIG, int(signal.SIGINT))


def _wait_until_ready(server: subprocess.Popen[bytes], data: Path, log: Path) -> None:
    until = time.monotonic() + START_TIMEOUT_S
    pid_file = data / "postmaster.pid"
    while time.monotonic() < until:
        if server.poll() is not None:
            break
        # As pg_ctl does it: the eighth line of the file is the server's state.
        lines = pid_file.read_text().splitlines() if pid_file.exists() else []
        if len(lines) >= 8 and lines[7].strip() == "ready":
            return
        time.sleep(0.02)
    raise ServerError(f"the server did not become ready: {log.read_text(errors='replace').strip()[-500:]}")
