"""`outbox doctor --json` in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Findings = dict[str, dict[str, str]]


@pytest.fixture
def doctor(outbox: Any, tmp_path: Path) -> Callable[..., tuple[int, Findings]]:
    """Run `outbox doctor --json`; return its exit code and findings by name, the worst of each."""

    def run(*arguments: str, **environment: str) -> tuple[int, Findings]:
        done = outbox("doctor", "--json", *arguments, **({"OUTBOX_DATA_DIR": str(tmp_path)} | environment))
        assert done.err == ""
        order = ("ok", "warn", "fail")
        findings = sorted(json.loads(done.out)["findings"], key=lambda finding: order.index(finding["verdict"]))
        return done.code, {finding["name"]: finding for finding in findings}

    return run
