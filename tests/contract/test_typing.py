"""The types that an application gets from `import outbox`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_an_application_passes_mypy_strict_and_its_mistakes_do_not(tmp_path):
    application = Path(__file__).with_name("consumer.py")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file=", f"--cache-dir={tmp_path}", str(application)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
