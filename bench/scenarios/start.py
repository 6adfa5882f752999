"""`outbox up` with nothing configured: seconds until its page answers, and what Ctrl-C leaves behind.

A new HOME and data folder and no variable of ours each time, so the embedded PostgreSQL is made, started and migrated
within; then the same folder again, as on any later day. A time runs from before the process is started until GET / has
answered 200. Only where it lies is set, folder and port: root's would be those of this machine, and in use. No bot
token is set either, so it keeps house and does not deliver.

Left behind counts processes whose command line or working folder lies there, sockets, pid files, and a port that still
answers. An exit code other than 0 is an error.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from bench.case import Case, Size
from bench.figure import Figure, percentile
from bench.server import Server
from outbox.database.embedded import free_port

STARTS: Final = 5
DEADLINE_S: Final = 60.0
OURS: Final = ("OUTBOX_", "PG", "XDG_")


def _start(server: Server, size: Size) -> Iterator[Figure]:
    first_s: list[float] = []
    next_s: list[float] = []
    left: list[str] = []
    starts = size.of(STARTS)
    for _ in range(starts):
        with _folder() as folder:
            for times in (first_s, next_s):
                times.append(_up(folder))
                left += _left_in(folder)
    yield Figure(f"first start until the page answers, median of {starts}", percentile(first_s, 0.5), "s", at_most=5)
    yield Figure("first start, slowest", max(first_s), "s")
    yield Figure(f"next start until the page answers, median of {starts}", percentile(next_s, 0.5), "s", at_most=5)
    yield Figure("left behind by Ctrl-C" + "".join(f" {one}" for one in left), len(left), "things", at_most=0)


def _up(folder: Path) -> float:
    """Run it until its page answers and end it by Ctrl-C; return the seconds that the answer took."""
    port = free_port()
    environment = {key: value for key, value in os.environ.items() if not key.startswith(OURS)}
    environment |= {"HOME": str(folder / "home"), "OUTBOX_DATA_DIR": str(folder / "data")}
    environment |= {"OUTBOX_ADMIN_ADDR": f"127.0.0.1:{port}"}
    began_s = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-m", "outbox", "up"], env=environment, stderr=subprocess.PIPE, text=True, cwd=folder
    ) as process:
        try:
            assert process.stderr is not None
            said = ""
            for line in process.stderr:
                said += line
                if "the page is at " in line:
                    _look(line.split()[-1])
                    break
            else:
                raise RuntimeError(f"outbox up ended before its page was there: {said}")
            took_s = time.perf_counter() - began_s
            process.send_signal(signal.SIGINT)
            _, rest = process.communicate(timeout=DEADLINE_S)
        finally:
            process.kill()
    if process.returncode != 0:
        raise RuntimeError(f"outbox up ended with {process.returncode}: {said}{rest}")
    with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), timeout=1):
        raise RuntimeError(f"port {port} still answers")
    return took_s


def _look(url: str) -> None:
    page = http.client.HTTPConnection(urlsplit(url).netloc, timeout=DEADLINE_S)
    page.request("GET", "/")
    status = page.getresponse().status
    page.close()
    if status != 200:
        raise RuntimeError(f"GET {url} answered {status}")


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """Yield a folder that `nobody`, who runs root's PostgreSQL, can enter."""
    folder = Path(tempfile.mkdtemp(prefix="outbox-bench-start-", dir="/tmp"))
    folder.chmod(0o711)
    (folder / "home").mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _left_in(folder: Path) -> list[str]:
    files = [str(path) for path in folder.rglob("*") if path.is_socket() or path.name.endswith(".pid")]
    return files + [f"process {entry.name}" for entry in Path("/proc").glob("[0-9]*") if _lives_in(entry, folder)]


def _lives_in(entry: Path, folder: Path) -> bool:
    try:
        command = (entry / "cmdline").read_bytes()
        return str(folder).encode() in command or (entry / "cwd").resolve().is_relative_to(folder)
    except OSError:  # it ended meanwhile, or is another user's
        return False


CASES: Final[dict[str, Case]] = {"start": _start}
