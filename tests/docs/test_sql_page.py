"""docs/sql.md is what the comments in the database say."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    """docs/generate.py, which is in no package."""
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_the_comments_say(db, generate):
    with db.connect() as connection:
        page = generate.render(connection)
    assert (DOCS / "sql.md").read_text(encoding="utf-8") == page, "stale: run python docs/generate.py"


def test_a_comment_that_changes_makes_the_page_stale(db, generate):
    with db.connect() as connection:
        before = generate.render(connection)
        connection.execute("COMMENT ON FUNCTION outbox.follow_from_now IS 'Something else.'")
        assert generate.render(connection) != before


def test_the_page_names_nothing_that_only_workers_may_call(generate):
    named = set(
        re.findall(r"^### (?:function|procedure) `outbox\.(\w+)`$", (DOCS / "sql.md").read_text(), re.MULTILINE)
    )
    assert {"send", "cancel", "status", "follow", "retry", "adopt"} <= named
    assert named.isdisjoint({"claim", "complete", "heartbeat", "give_ticket", "finish_messages"})


def test_a_long_signature_is_broken_between_arguments_only(generate):
    routine = generate.Routine(
        "f", False, ", ".join(f"p_{i} timestamp with time zone DEFAULT NULL::text" for i in range(9)), "bigint", "Does."
    )
    text = generate._signature(routine)
    assert "p_8 timestamptz DEFAULT NULL) RETURNS bigint" in text
    assert max(map(len, text.splitlines())) <= 120
    assert all(re.fullmatch(r"    p_\d.*[,t]", line) for line in text.splitlines()[1:])
