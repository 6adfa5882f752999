"""The code blocks of a page."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"^ *```(\w+)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


def blocks_of(page: str, language: str) -> list[str]:
    """Return the blocks of one language in docs/`page`, in order."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return [block for found, block in BLOCK.findall(text) if found == language]
