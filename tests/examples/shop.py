"""The examples as programs: what each needs, how it is started, what it left."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from outbox.operate.stage import Simulator

EXAMPLES = Path(__file__).parents[2] / "examples"
DEBIANS_DRIVER = Path("/usr/share/java/postgresql.jar")
RUN_TIMEOUT_S = 120
INSTALL_TIMEOUT_S = 300


@dataclass(frozen=True)
class Ran:
    """One run of an example: how it ended, what it said, and which calls to its chat arrived, in order."""

    code: int
    out: str
    err: str
    calls: list[dict[str, Any]]

    def number(self, pattern: str) -> int:
        """The number that the pattern's group finds in what was said."""
        found = re.search(pattern, self.out)
        assert found, f"no {pattern!r} in:\n{self}"
        return int(found[1])

    def __str__(self) -> str:
        return f"exit {self.code}\n{self.out}\n{self.err}"


def blocks(language: str, page: str) -> list[str]:
    """The fenced blocks in that language of a page's text."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)


def environment(**variables: str) -> dict[str, str]:
    """Our own environment without its OUTBOX_ variables, and with these."""
    return {key: value for key, value in os.environ.items() if not key.startswith("OUTBOX_")} | variables


def run(command: list[str], database_url: str) -> subprocess.CompletedProcess[str]:
    """Run a program that finds its database in OUTBOX_DATABASE_URL."""
    return subprocess.run(
        command,
        env=environment(OUTBOX_DATABASE_URL=database_url),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=RUN_TIMEOUT_S,
    )


async def calls_to(telegram: Simulator, chat: str) -> list[dict[str, Any]]:
    """What arrived for a chat, in order."""
    return [call for call in await telegram.log() if call["chat"] == chat]


def psql(*arguments: str) -> list[str]:
    """The command of a psql: the one on PATH, or else the embedded server's."""
    return [sys.executable, "-m", "outbox", "db", "psql", *arguments]


def java() -> list[str]:
    """The command that runs a .java file with the driver at hand. Skips the test where there is no JDK or no driver."""
    if shutil.which("javac") is None:
        pytest.skip("no JDK on PATH: a .java file cannot be run")
    given = [os.environ.get("POSTGRES_JDBC_JAR", ""), *os.environ.get("CLASSPATH", "").split(os.pathsep)]
    for jar in map(Path, [*given, DEBIANS_DRIVER]):
        if jar.name.startswith("postgresql") and jar.is_file():
            return ["java", "-cp", str(jar)]
    pytest.skip(
        "no JDBC driver: install libpostgresql-jdbc-java, or set POSTGRES_JDBC_JAR to the jar org.postgresql:postgresql"
    )


def install_node_packages(folder: Path) -> None:
    """Install what the folder's package.json asks for. Skips the test where there is no Node or npm."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("no node or no npm on PATH")
    install = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--prefer-offline"]
    done = subprocess.run(install, cwd=folder, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S)
    assert done.returncode == 0, done.stderr


def copy_without_packages(source: Path, target: Path) -> Path:
    """Copy a folder of examples as it is in the repository."""
    return Path(shutil.copytree(source, target, ignore=shutil.ignore_patterns("node_modules", "package-lock.json")))
