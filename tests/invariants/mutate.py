"""Breaks one SQL file on purpose, in one database."""

from __future__ import annotations

from pathlib import Path

from tests.invariants.calls import Connection

SQL = Path(__file__).parents[2] / "sql"


def mutate(connection: Connection, file: str, *substitutions: tuple[str, str]) -> None:
    """Run sql/<file> with each text replaced; every one must be there exactly once, or the mutation is out of date."""
    text = (SQL / file).read_text()
    for old, new in substitutions:
        assert text.count(old) == 1, f"{file} holds {text.count(old)} times: {old!r}. Mend the mutation."
        text = text.replace(old, new)
    connection.execute(text)
