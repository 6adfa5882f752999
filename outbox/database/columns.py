"""What the tables' metadata is made of: the schema, and the kinds of columns."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Column, DateTime, Identity, MetaData, Text, text
from sqlalchemy.types import UserDefinedType

metadata = MetaData(schema="outbox")

TIME = DateTime(timezone=True)
CHAT_ID = Text(collation="C")  # names are compared by byte: no locale can reorder the lanes


class XID8(UserDefinedType[int]):
    """A transaction's number, with its epoch: xid8."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        """Return the type as DDL spells it."""
        return "xid8"


def needed(name: str, kind: Any, default: str | None = None) -> Column[Any]:
    """Return a NOT NULL column; `default` is SQL."""
    return Column(name, kind, nullable=False, server_default=None if default is None else text(default))


def numbered() -> Column[Any]:
    """Return the primary key `id`, given by the database."""
    return Column("id", BigInteger, Identity(always=True), primary_key=True)
