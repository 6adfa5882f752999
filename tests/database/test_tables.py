"""tables.py says the same as the migrations, and the comparison can see a difference."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import MetaData
from sqlalchemy.dialects.postgresql.base import PGDialect

from outbox.database import tables
from outbox.database.columns import XID8


@pytest.fixture
def differences(db: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[[MetaData], list[Any]]:
    """Compare metadata with the migrated database, types and defaults included."""
    monkeypatch.setitem(PGDialect.ischema_names, "xid8", XID8)
    partitions = {
        name for (name,) in db.execute("SELECT relname FROM pg_class WHERE relispartition AND relkind IN ('r', 'p')")
    }

    def is_ours(thing: Any, name: str | None, kind: str, _reflected: bool, _compare_to: Any) -> bool:
        table = thing if kind == "table" else thing.table
        return table.schema == "outbox" and table.name not in partitions | {"alembic_version"}

    def compare(metadata: MetaData) -> list[Any]:
        engine = sqlalchemy.create_engine(db.url.replace("postgresql:", "postgresql+psycopg:"))
        with engine.connect() as connection:
            context = MigrationContext.configure(
                connection,
                opts={
                    "include_schemas": True,
                    "include_object": is_ours,
                    "compare_type": True,
                    "compare_server_default": True,
                },
            )
            found = compare_metadata(context, metadata)
        engine.dispose()
        return [one for one in _flat(found) if _differs(one)]

    return compare


def _differs(found: Any) -> bool:
    if "comment" in found[0]:
        return False  # what a column means is said once, in sql/9_grant/comments.sql
    if found[0] == "modify_default" and "random" in str(found[5].arg):
        # Alembic asks the database whether both defaults are equal; two random ones never are.
        return bool(re.sub("[()]", "", str(found[5].arg)) != re.sub("[()]", "", str(found[6].arg)))
    return True


def _flat(found: list[Any]) -> list[Any]:
    return [one for group in found for one in (group if isinstance(group, list) else [group])]


def _copy() -> MetaData:
    metadata = MetaData()
    for table in tables.metadata.tables.values():
        table.to_metadata(metadata)
    return metadata


def test_the_metadata_equals_the_migrated_database(differences):
    assert differences(tables.metadata) == []


def _table(metadata: MetaData) -> None:
    sqlalchemy.Table("invented", metadata, sqlalchemy.Column("id", sqlalchemy.Integer), schema="outbox")


def _column_type(metadata: MetaData) -> None:
    metadata.tables["outbox.message"].c.priority.type = sqlalchemy.BigInteger()


def _nullable(metadata: MetaData) -> None:
    metadata.tables["outbox.attempt"].c.outcome.nullable = True


def _default(metadata: MetaData) -> None:
    default = copy.copy(metadata.tables["outbox.bot"].c.rate.server_default)
    default.arg = sqlalchemy.text("31")
    metadata.tables["outbox.bot"].c.rate.server_default = default


def _index(metadata: MetaData) -> None:
    table = metadata.tables["outbox.message"]
    table.indexes.discard(next(index for index in table.indexes if index.name == "message_lane"))


def _column(metadata: MetaData) -> None:
    metadata.tables["outbox.finished"].append_column(sqlalchemy.Column("invented", sqlalchemy.Text))


@pytest.mark.parametrize("change", [_table, _column_type, _nullable, _default, _index, _column])
def test_a_change_of_the_metadata_is_a_difference(differences, change):
    metadata = _copy()
    assert differences(metadata) == []
    change(metadata)
    assert differences(metadata) != []


def test_primary_keys_are_those_of_the_database(db):
    # Alembic compares no primary keys.
    inspector = sqlalchemy.inspect(
        engine := sqlalchemy.create_engine(db.url.replace("postgresql:", "postgresql+psycopg:"))
    )
    for table in tables.metadata.tables.values():
        assert inspector.get_pk_constraint(table.name, "outbox")["constrained_columns"] == [
            column.name for column in table.primary_key.columns
        ], table.name
    engine.dispose()
