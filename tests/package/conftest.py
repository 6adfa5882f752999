"""The wheel, built and installed once per run."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.package.building import install
from tests.package.installation import Installation


@pytest.fixture(scope="session")
def installed() -> Iterator[Installation]:
    """What the Containerfile's first stage makes, in a folder outside the checkout."""
    with tempfile.TemporaryDirectory(prefix="outbox-package-") as name:
        root = Path(name).resolve()
        root.chmod(0o711)  # to where root's commands go, others must get as well
        yield install(root)
