"""Writes docs/sql.md, the SQL contract, from the COMMENT ON of a freshly migrated database.

python docs/generate.py           writes the page
python docs/generate.py --check   exits with 1 where the page is not what it would write
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import psycopg

PAGE: Final = Path(__file__).with_name("sql.md")
WIDTH: Final = 110

READERS: Final = {
    "outbox_producer": (
        "For applications",
        "What a login may do that was granted `outbox_producer`. The page for you: [application.md](application.md).",
    ),
    "outbox_reader": (
        "For whoever looks",
        "What `outbox_reader` may read beyond that: dashboards, support, consumers of `follow`. No payload is shown."
        " The page for you: [observing.md](observing.md).",
    ),
    "outbox_admin": (
        "For operators",
        "What only `outbox_admin` may do, who may do all of the above too. Each call leaves a row in `outbox.audit`."
        " The page for you: [operator.md](operator.md).",
    ),
}

HEAD: Final = """\
# The SQL contract

Written by `python docs/generate.py` from the `COMMENT ON` of each object: change it in [sql/](../sql), not here.
`\\d+ outbox.message` and `\\df+ outbox.*` in psql show the same.

What stands here is what you may rely on: it keeps its names, types and meaning from release to release, as
[upgrading.md](upgrading.md) promises. Anything else in schema `outbox` is for workers and may change in any release.
Lengths of time are in seconds where a name ends in `_s`.

Roles: `outbox_producer`, `outbox_reader`, `outbox_worker` (a reader that delivers) and `outbox_admin` (all of them and
the operator's verbs). `GRANT outbox_producer TO app` is all that an application needs.
"""

# Parts are granted because a view or a procedure runs with its caller's rights; nobody calls them by hand.
ROUTINES: Final = """
    SELECT p.proname, p.prokind = 'p', pg_get_function_arguments(p.oid), coalesce(pg_get_function_result(p.oid), ''),
           coalesce(obj_description(p.oid, 'pg_proc'), '')
      FROM pg_proc p
     WHERE p.pronamespace = 'outbox'::regnamespace AND p.prokind IN ('f', 'p')
       AND has_function_privilege(%(role)s, p.oid, 'EXECUTE')
       AND NOT (%(role)s = 'outbox_admin' AND has_function_privilege('outbox_worker', p.oid, 'EXECUTE'))
       AND coalesce(obj_description(p.oid, 'pg_proc'), '') !~ 'Part of |Read outbox\\.'
       AND NOT EXISTS (SELECT FROM unnest(p.proargtypes) a JOIN pg_type t ON t.oid = a
                        WHERE t.typnamespace = p.pronamespace)
     ORDER BY p.proname COLLATE "C", p.pronargs DESC, pg_get_function_identity_arguments(p.oid) COLLATE "C" DESC
"""
RELATIONS: Final = """
    SELECT c.relname, c.relkind = 'v', coalesce(obj_description(c.oid, 'pg_class'), '')
      FROM pg_class c
     WHERE c.relnamespace = 'outbox'::regnamespace AND c.relkind IN ('r', 'p', 'v') AND NOT c.relispartition
       AND c.relname <> 'alembic_version'
       AND (has_table_privilege(%(role)s, c.oid, 'SELECT') OR has_any_column_privilege(%(role)s, c.oid, 'INSERT'))
     ORDER BY c.relkind = 'v', c.relname COLLATE "C"
"""
COLUMNS: Final = """
    SELECT a.attname, format_type(a.atttypid, a.atttypmod), coalesce(col_description(a.attrelid, a.attnum), ''),
           has_column_privilege(%(role)s, a.attrelid, a.attnum, 'INSERT'),
           has_column_privilege(%(role)s, a.attrelid, a.attnum, 'SELECT')
      FROM pg_attribute a
     WHERE a.attrelid = ('outbox.' || %(relation)s)::regclass AND a.attnum > 0 AND NOT a.attisdropped
     ORDER BY a.attnum
"""

SHORT_TYPES: Final = {
    "timestamp with time zone": "timestamptz",
    "double precision": "float8",
    "integer": "int",
}


class Routine(NamedTuple):
    """A function or procedure."""

    name: str
    is_procedure: bool
    arguments: str
    result: str
    comment: str


class Relation(NamedTuple):
    """A table or view."""

    name: str
    is_view: bool
    comment: str


class Column(NamedTuple):
    """A column, and what the role in question may do with it."""

    name: str
    type: str
    comment: str
    may_insert: bool
    may_select: bool


def render(connection: psycopg.Connection[Any]) -> str:
    """Return the page for the database of `connection`, which must be migrated and have the roles."""
    seen: set[object] = set()
    parts = [HEAD]
    for role, (title, text) in READERS.items():
        parts += [f"\n## {title}: `{role}`\n\n{_wrap(text)}\n"]
        relations = [Relation(*row) for row in connection.execute(RELATIONS, {"role": role})]
        routines = [Routine(*row) for row in connection.execute(ROUTINES, {"role": role})]
        again = sorted({*(r.name for r in relations if r in seen), *(r.name for r in routines if r in seen)})
        if again and role != "outbox_admin":
            parts += [f"\n{_wrap('Also, as above: ' + ', '.join(f'`{name}`' for name in again) + '.')}\n"]
        relations = [one for one in relations if one not in seen]
        routines = [one for one in routines if one not in seen]
        seen |= {*relations, *routines}
        if role == "outbox_admin":
            parts += _routines(routines)
            parts += _behind(relations)
        else:
            for relation in relations:
                parts += _relation(connection, role, relation)
            parts += _routines(routines)
    return "".join(parts)


def _relation(connection: psycopg.Connection[Any], role: str, relation: Relation) -> Iterator[str]:
    kind = "view" if relation.is_view else "table"
    yield f"\n### {kind} `outbox.{relation.name}`\n\n{_wrap(_plain(relation.comment))}\n"
    columns = [Column(*row) for row in connection.execute(COLUMNS, {"role": role, "relation": relation.name})]
    if settable := [column for column in columns if column.may_insert]:
        yield "\nColumns that you may set:\n\n" + _table(settable)
        readable = ", ".join(f"`{column.name}`" for column in columns if column.may_select)
        if readable:
            yield f"\nColumns that you may read, so that RETURNING works: {readable}.\n"
    elif any(column.comment for column in columns):
        yield "\n" + _table(columns)
    else:
        listed = ", ".join(f"`{column.name}` {_short(column.type)}" for column in columns)
        yield f"\n{_wrap('Columns: ' + listed + '.')}\n"


def _table(columns: list[Column]) -> str:
    lines = [f"| `{column.name}` | {_short(column.type)} | {_cell(column.comment)} |" for column in columns]
    return "\n".join(["| column | type | |", "|---|---|---|", *lines]) + "\n"


def _routines(routines: list[Routine]) -> Iterator[str]:
    name = ""
    for routine in routines:
        if routine.name != name:
            name = routine.name
            yield f"\n### {'procedure' if routine.is_procedure else 'function'} `outbox.{name}`\n"
        yield f"\n```sql\n{_signature(routine)}\n```\n\n{_wrap(_plain(routine.comment))}\n"


def _behind(relations: list[Relation]) -> Iterator[str]:
    yield (
        "\n### Tables behind it\n\nAdmins may read and write every table of the schema. These are no contract: look at"
        " them, and\nchange them by the functions above.\n\n| table | |\n|---|---|\n"
    )
    for relation in relations:
        yield f"| `{relation.name}` | {_cell(relation.comment)} |\n"


def _signature(routine: Routine) -> str:
    """One line where it fits; else the arguments below, indented."""
    arguments = _split(_short(routine.arguments))
    opening = f"{'CALL ' if routine.is_procedure else ''}outbox.{routine.name}("
    given = _in_lines(opening, arguments)
    if not routine.result or _has_out(arguments):
        return f"{given})"
    result = _short(routine.result)
    if table := re.fullmatch(r"TABLE\((.*)\)", result):
        return _in_lines(f"{given}) RETURNS TABLE (", _split(table[1])) + ")"
    return f"{given}) RETURNS {result}"


def _in_lines(opening: str, items: list[str]) -> str:
    line = opening + ", ".join(items)
    if len(line) <= WIDTH - 20:
        return line
    # An item is never broken: its spaces come back afterwards.
    text = ", ".join(item.replace(" ", "\N{NO-BREAK SPACE}") for item in items)
    lines = textwrap.fill(text, WIDTH, initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False)
    return f"{opening}\n" + lines.replace("\N{NO-BREAK SPACE}", " ")


def _has_out(arguments: list[str]) -> bool:
    """RETURNS of a function with OUT arguments only says it again."""
    return any(argument.startswith(("OUT ", "INOUT ")) for argument in arguments)


def _split(arguments: str) -> list[str]:
    """Split at the commas that stand outside of quotes and brackets."""
    return [part.strip().removeprefix("IN ") for part in re.findall(r"(?:'[^']*'|\([^)]*\)|[^,'(])+", arguments)]


def _short(text: str) -> str:
    for long, short in SHORT_TYPES.items():
        text = text.replace(long, short)
    return re.sub(r"(NULL|'[^']*')::[a-z0-9]+(\[\])?", r"\1", text)


def _cell(text: str) -> str:
    return _plain(text).replace("|", "\\|")


def _plain(text: str) -> str:
    """A comment is no Markdown: <NAME> would be a tag in it."""
    return text.replace("<", "\\<")


def _wrap(text: str) -> str:
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)


def main() -> int:
    """Write the page, or compare it. Returns the exit status."""
    from outbox.database.ephemeral import ephemeral_server
    from outbox.database.migrate import migrate

    with ephemeral_server() as url:
        migrate(url)
        with psycopg.connect(url, autocommit=True) as connection:
            page = render(connection)
    if "--check" not in sys.argv:
        PAGE.write_text(page, encoding="utf-8")
        return 0
    if PAGE.read_text(encoding="utf-8") == page:
        return 0
    print("docs/sql.md is not what the comments say. Run: python docs/generate.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
