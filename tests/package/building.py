"""The Containerfile's first stage, done without an engine in a folder outside the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.package.containerfile import ROOT, copied_from_checkout, stages
from tests.package.installation import Installation

TARGETS = ("/wheel", "/opt/outbox")


def install(root: Path) -> Installation:
    """Copy what the stage copies and run what it runs, with `root` in front of the folders it makes."""
    source = root / "src"
    run_outside([sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(root / "sdist")], ROOT)
    for origin, target in copied_from_checkout().items():
        (source / target).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / origin).is_dir():
            shutil.copytree(ROOT / origin, source / target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / origin, source / target)
    for instruction in stages()[0]:
        if instruction.keyword == "RUN":
            step = instruction.argument
            for target in TARGETS:
                step = step.replace(target, f"{root}{target}")
            run_outside(["sh", "-c", step], source)
    (sdist,) = (root / "sdist").iterdir()
    (wheel,) = (root / "wheel").iterdir()
    elsewhere = root / "elsewhere"
    elsewhere.mkdir()
    return Installation(sdist, wheel, root / "opt/outbox", elsewhere)


def run_outside(command: list[str], folder: Path) -> None:
    """Run a build step with the test runner's python and pip; what it says becomes the failure's text."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OUTBOX_", "PYTHON"))}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.fail(
            f"{' '.join(command)} failed. (These tests need a package registry, as `make test` itself does.)\n"
            f"{done.stdout}{done.stderr}",
            pytrace=False,
        )
