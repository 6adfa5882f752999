"""The wheel in an environment of its own, outside the checkout, and processes that run there."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import os
import subprocess
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator
from dataclasses import dataclass
from importlib.metadata import Distribution
from pathlib import Path

DEADLINE_S = 60.0


class Running:
    """A process of the installation; its output is read line by line."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._seen: list[str] = []

    async def until(self, text: str) -> str:
        """Return the first line that holds `text`. Fails with the output so far when it ends or is late."""
        assert self._process.stdout is not None
        async with asyncio.timeout(DEADLINE_S):
            while line := (await self._process.stdout.readline()).decode():
                self._seen.append(line)
                if text in line:
                    return line
        raise AssertionError(f"it ended without {text!r}:\n{''.join(self._seen)}")

    async def stop(self) -> int:
        """Ask it to end, and return its exit status."""
        self._process.terminate()
        async with asyncio.timeout(DEADLINE_S):
            await self._process.communicate()
        assert self._process.returncode is not None
        return self._process.returncode


@dataclass(frozen=True)
class Installation:
    """A virtual environment with nothing but the wheel and what it requires; the sdist is of the same moment."""

    sdist: Path
    wheel: Path
    home: Path
    elsewhere: Path
    """A folder that holds nothing; commands run there."""

    @property
    def packages(self) -> Path:
        """Its site-packages folder."""
        return next((self.home / "lib").glob("python*/site-packages"))

    @property
    def distributions(self) -> list[Distribution]:
        """Every package in it."""
        return list(importlib.metadata.distributions(path=[str(self.packages)]))

    def run(self, command: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the environment to its end, whatever its exit status."""
        return subprocess.run(
            [self.home / "bin" / command, *arguments],
            cwd=self.elsewhere,
            env=self._environment(variables),
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )

    @contextlib.asynccontextmanager
    async def running(self, command: str, *arguments: str, **variables: str) -> AsyncIterator[Running]:
        """Run a command of the environment beside the block, and end it with the block."""
        process = await asyncio.create_subprocess_exec(
            self.home / "bin" / command,
            *arguments,
            cwd=self.elsewhere,
            env=self._environment(variables),
            stdout=PIPE,
            stderr=STDOUT,
        )
        try:
            yield Running(process)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()

    def _environment(self, variables: dict[str, str]) -> dict[str, str]:
        # No PYTHONPATH, no OUTBOX_ variable, no activated environment of whoever runs the tests.
        path = f"{self.home / 'bin'}{os.pathsep}/usr/bin{os.pathsep}/bin"
        return {"PATH": path, "HOME": str(self.elsewhere), **variables}
