"""The SQL files as they will be applied, comments taken away where a rule is about statements."""

from __future__ import annotations

import re
from typing import Any

import pytest

from outbox.database.sqlfiles import sql_files


@pytest.fixture(scope="session")
def files() -> dict[str, str]:
    """Every file of sql/: its name, such as sql/2_claim/claim.sql, and its text."""
    return {file.name: file.text for file in sql_files()}


@pytest.fixture(scope="session")
def statements(files: dict[str, str]) -> dict[str, str]:
    """The same without comments of either kind, words separated by one space."""
    return {name: _bare(text) for name, text in files.items()}


@pytest.fixture(scope="module")
def migrated(template: Any) -> Any:
    """The template itself, which is only read here; nobody copies it meanwhile."""
    return template


def _bare(text: str) -> str:
    text = re.sub(r"--[^\n]*", "", text)
    text = re.sub(r"COMMENT ON [^;']* IS\s+'(?:[^']|'')*';", "", text)
    return re.sub(r"\s+", " ", text)
