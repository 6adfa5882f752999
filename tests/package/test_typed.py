"""py.typed: what a type checker knows in a project that only has the wheel."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path


def test_an_application_beside_the_wheel_passes_mypy_strict_and_its_mistakes_do_not(installed, tmp_path):
    application = shutil.copy(Path(__file__).with_name("typed_application.py"), tmp_path)
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", f"--cache-dir={tmp_path / 'cache'}"]
    done = subprocess.run(
        [*command, "--python-executable", installed.home / "bin" / "python", application],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
