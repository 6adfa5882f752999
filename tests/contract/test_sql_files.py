"""How every SQL file opens, and that nothing of it goes undocumented."""

from __future__ import annotations

import re


def test_every_file_opens_with_its_promise(files):
    assert [name for name, text in files.items() if not text.startswith("-- Promise: ")] == []


def test_every_file_with_a_function_says_what_it_locks_and_costs(files):
    functions = {name: text for name, text in files.items() if "CREATE OR REPLACE FUNCTION" in text}
    assert [name for name, text in functions.items() if "Locks" not in text or "Cost: " not in text] == []


def test_every_function_and_view_has_a_comment_in_its_own_file(files):
    undocumented = []
    for name, text in files.items():
        made = re.findall(r"CREATE OR REPLACE (FUNCTION|PROCEDURE|VIEW) (outbox\.\w+)", text)
        told = re.findall(r"COMMENT ON (FUNCTION|PROCEDURE|VIEW) (outbox\.\w+)", text)
        undocumented += [(name, *one) for one in made if made.count(one) > told.count(one)]
    assert undocumented == []


def test_functions_and_views_are_made_so_that_they_can_be_replaced(statements):
    """A bare CREATE fails on the second migrate."""
    for name, text in statements.items():
        assert re.findall(r"CREATE (?:FUNCTION|PROCEDURE|VIEW)\b", text) == [], name


def test_no_file_is_a_book(files):
    assert [(name, text.count("\n")) for name, text in files.items() if text.count("\n") > 300] == []


def test_every_object_is_named_with_its_schema(statements):
    """Under search_path = pg_catalog an unqualified table is an error only when its line runs."""
    tables = "message|bot|bucket|chat|wakeup|idempotency|attempt|finished|dead_letter|worker|housekeeping|audit"
    for name, text in statements.items():
        assert re.findall(rf"\b(?:INSERT INTO|DELETE FROM|UPDATE|FROM|JOIN) (?:{tables})\b(?! ?\()", text) == [], name
