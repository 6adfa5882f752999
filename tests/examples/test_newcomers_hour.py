"""From nothing to a message in the simulator: the commands of examples/README.md, in one shell, as they stand."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from outbox.database.embedded import free_port
from tests.examples.shop import DEBIANS_DRIVER, EXAMPLES, blocks, copy_without_packages, environment

TIMEOUT_S = 400
INSTALLED_ALREADY = ("python3 -m venv", "pip install")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that `nobody`, who runs root's PostgreSQL, can enter; tmp_path is not."""
    path = Path(tempfile.mkdtemp(prefix="outbox-test-hour-", dir="/tmp"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path)


def _commands(page: Path) -> str:
    [commands] = [block for block in blocks("sh", page.read_text()) if "examples/" in block]
    return commands


def _possible_here(line: str) -> bool:
    """Whether this machine has what the line needs: another example's language may be missing."""
    if "npm" in line:
        return shutil.which("npm") is not None
    if "java" in line:
        return shutil.which("javac") is not None and DEBIANS_DRIVER.exists()
    return True


@pytest.mark.skipif(shutil.which("curl") is None or shutil.which("bash") is None, reason="no curl or no bash on PATH")
def test_the_commands_lead_from_nothing_to_messages_in_the_simulator(folder):
    copy_without_packages(EXAMPLES, folder / "examples")
    commands = [line for line in _commands(EXAMPLES / "README.md").splitlines() if _possible_here(line)]
    script = ["set -eu", *(line for line in commands if not line.startswith(INSTALLED_ALREADY))]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    variables = environment(PATH=path, OUTBOX_DATA_DIR=str(folder / "data"))
    said = folder / "said"
    with said.open("w") as out:
        shell = subprocess.Popen(
            ["bash", "-c", "\n".join(script).replace("8081", str(free_port()))],
            cwd=folder,
            env=variables,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    try:
        code = shell.wait(TIMEOUT_S)
    finally:
        _end(shell.pid, variables)
    text = said.read_text()
    assert code == 0, text
    orders = range(1, 1 + sum("roducer" in line for line in script))
    assert [order for order in orders if f'"text": "Order {order} is paid and packed"' not in text] == [], text


def test_the_readme_gives_the_same_commands():
    assert _commands(EXAMPLES.parent / "README.md") == _commands(EXAMPLES / "README.md")


def _end(group: int, variables: dict[str, str]) -> None:
    """End what a script that failed left behind, and the server after it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
    said = "other programs"
    while "other programs" in said:
        said = subprocess.run(
            [sys.executable, "-m", "outbox", "db", "stop"], env=variables, check=True, capture_output=True, text=True
        ).stdout
