"""A throw-away PostgreSQL that can be made to crash and come back, as `pg_ctl restart -m immediate` does it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import psycopg

from outbox.database.binaries import Account, ServerError, server_process_options
from outbox.database.ephemeral import PR_SET_PDEATHSIG, ephemeral_server

TIMEOUT_S: Final = 60.0
LOOK_S: Final = 0.02


class CrashingServer:
    """`url` is the superuser's; it stays the same through crashes."""

    def __init__(self, url: str) -> None:
        self.url = url
        with psycopg.connect(url, autocommit=True) as connection:
            [(folder,)] = connection.execute("SHOW data_directory").fetchall()
        self._data = Path(folder)
        self._again: subprocess.Popen[bytes] | None = None

    def crash(self) -> None:
        """Stop without a checkpoint and without a word to the clients; what was committed is in the WAL."""
        if self._again is not None:
            self._end(signal.SIGQUIT)
            return
        os.kill(int(self._pid_file.read_text().splitlines()[0]), signal.SIGQUIT)
        self._wait(lambda: not self._pid_file.exists())

    def start(self) -> None:
        """Start again with the same options, and recover. Raises ServerError."""
        # Its own words of the first start: program and options, quoted.
        command = shlex.split((self._data / "postmaster.opts").read_text())
        prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None
        with (self._data.parent / "postgres.log").open("ab") as log:
            self._again = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=prctl and (lambda: prctl(PR_SET_PDEATHSIG, int(signal.SIGINT))),
                **server_process_options(Account.for_server()),
            )
        self._wait(self._is_ready)

    def end(self) -> None:
        """Stop what start() started; the first server is its own owner's to stop."""
        self._end(signal.SIGINT)

    @property
    def _pid_file(self) -> Path:
        return self._data / "postmaster.pid"

    def _is_ready(self) -> bool:
        lines = self._pid_file.read_text().splitlines() if self._pid_file.exists() else []
        return len(lines) >= 8 and lines[7].strip() == "ready"

    def _end(self, how: signal.Signals) -> None:
        if self._again is not None:
            self._again.send_signal(how)
            self._again.wait(TIMEOUT_S)
            self._again = None

    def _wait(self, done: Callable[[], bool]) -> None:
        until_s = time.monotonic() + TIMEOUT_S
        while not done():
            if time.monotonic() > until_s:
                raise ServerError(f"the server below {self._data} neither stopped nor started in {TIMEOUT_S:.0f} s")
            time.sleep(LOOK_S)


@contextlib.contextmanager
def crashing_server(*, durable: bool) -> Iterator[CrashingServer]:
    """Yield a new server; `durable` keeps fsync on. Call it from the main thread."""
    with ephemeral_server(durable=durable) as url:
        server = CrashingServer(url)
        try:
            yield server
        finally:
            server.end()
