"""What all commands share with the terminal and the database: a connection, tables, facts, JSON."""

from __future__ import annotations

import contextlib
import json
import math
import os
import pwd
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, TextIO
from uuid import UUID

import click
import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import dict_row
from psycopg.types.datetime import TimestamptzLoader
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from outbox.database.connect import CONNECT_TIMEOUT_S, database_url
from outbox.operate.times import in_utc
from outbox.operate.unseen import UNSEEN
from outbox.redact import scrub
from outbox.settings import UsageError, load_settings

Connection = psycopg.Connection[dict[str, Any]]

_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_NUMBER = re.compile(r"-?[\d,]*\.?\d+( (s|min|h|d|%))?|\.")
PLAIN_WIDTH = 10_000  # not a terminal: a row is a line, whatever its length


class CommandFailed(click.ClickException):
    """What was asked for could not be done or found: one line on stderr, exit code 1."""

    def show(self, file: Any = None) -> None:
        """Print the line, without secrets."""
        click.echo(f"outbox: {scrub(self.message)}", err=True, file=file)


json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON, with times in UTC as ISO 8601, instead of text."
)


@contextlib.contextmanager
def connected(name: str) -> Iterator[Connection]:
    """Yield an autocommit connection of command `name` that gives rows as dicts and knows who operates.

    Raises UsageError where no database is named.
    """
    with database_url(load_settings(), name) as url, connect(url, name) as connection:
        yield connection


def connect(url: str, name: str) -> Connection:
    """Return such a connection to the database of `url`; close it, or use it in a `with`."""
    options: dict[str, Any] = {
        "autocommit": True,
        "prepare_threshold": None,  # behind a transaction pooler the next statement is on another server session
        "connect_timeout": CONNECT_TIMEOUT_S,
        "application_name": f"outbox {name}",
    }
    operator = re.sub(r"([\\\s])", r"\\\1", operator_name())
    given = str(conninfo_to_dict(url).get("options") or "")
    session = f"{given} -c timezone=UTC -c outbox.operator={operator}".strip()
    try:
        connection = Connection.connect(url, row_factory=dict_row, options=session, **options)
    except psycopg.OperationalError as error:
        if "startup parameter" not in str(error):
            raise
        # A pooler that shares sessions: set_config would name this operator for whoever gets the session next. Without
        # it the audit names the login.
        connection = Connection.connect(url, row_factory=dict_row, **options)
    connection.adapters.register_loader("timestamptz", _FarTimestamp)
    return connection


def clock(connection: Connection) -> datetime:
    """Return the database's clock."""
    row = connection.execute("SELECT outbox.clock() AS now").fetchone()
    assert row is not None
    now = row["now"]
    assert isinstance(now, datetime)
    return now


def operator_name() -> str:
    """Return who works here, for the audit: the user of this machine, before sudo."""
    before_sudo = os.environ.get("SUDO_USER", "").strip()
    if before_sudo:
        return before_sudo
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's number without a name
        return f"uid {os.getuid()}"


def on_terminal() -> bool:
    """Return whether a person looks at stdout, on a terminal that can be drawn on."""
    console = screen()
    return console.is_terminal and not console.is_dumb_terminal


def screen(file: TextIO | None = None) -> Console:
    """Return a rich console on stdout (or `file`) that takes no text for markup."""
    console = Console(file=file or sys.stdout, markup=False, emoji=False, highlight=False)
    if not console.is_terminal:
        console.width = PLAIN_WIDTH
    return console


def table(title: str | None, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a table; columns of numbers stand right. Cells are written by text()."""
    draw(make_table(title, columns, rows))


def facts(pairs: Iterable[tuple[str, Any]]) -> None:
    """Print names and values, a line each; what is None or empty is left out."""
    draw(make_facts(pairs))


def draw(made: RenderableType) -> None:
    """Print what make_table() and make_facts() made, or several of them in a rich Group."""
    console = screen()
    if console.is_terminal:
        console.print(made)
        return
    with console.capture() as capture:
        console.print(made)
    # rich fills every cell up, also those at the end of a line.
    click.echo("\n".join(line.rstrip() for line in capture.get().splitlines()))


def say(line: str) -> None:
    """Print one line of text."""
    screen().print(shown(line), soft_wrap=True)


def note(line: str) -> None:
    """Print one line for the person on stderr, where it disturbs nobody who reads stdout."""
    click.echo(f"outbox: {shown(line)}", err=True)


def confirm(what: str, done: str, count: int) -> None:
    """Have the person type the number of `what`, which is to be `done`.

    Raises UsageError where nobody is there, CommandFailed for another answer and for Ctrl-C.
    """
    if not sys.stdin.isatty():
        raise UsageError(
            f"{what} would be {done}, and there is no terminal to ask at", "Add --yes, or narrow the conditions"
        )
    question = shown(f"{what} will be {done}. Type the number to go on")
    try:
        typed = click.prompt(question, default="", show_default=False, err=True)
    except click.Abort:
        click.echo(err=True)  # the terminal stands behind ^C
        raise CommandFailed("nothing was changed.") from None
    if typed.replace(",", "").strip() != str(count):
        raise CommandFailed("that is not the number: nothing was changed.")


def make_table(title: str | None, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Table:
    """Return what table() prints, for rich.live. Its columns move together where they fit only so."""
    cells = [[text(value) for value in row] for row in rows]
    width = sum(max([len(name), *(row[place].cell_len for row in cells)]) for place, name in enumerate(columns))
    gaps = len(columns) - 1
    tight = width + gaps <= screen().width < width + 2 * gaps
    made = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="bold")
    made.padding = (0, 1, 0, 0 if tight else 1)
    for number, column in enumerate(columns):
        filled = [row[number].plain for row in cells if row[number].plain]
        right = bool(filled) and all(_NUMBER.fullmatch(cell) for cell in filled)
        made.add_column(column, justify="right" if right else "left", overflow="fold")
    for row in cells:
        made.add_row(*row)
    return made


def make_facts(pairs: Iterable[tuple[str, Any]]) -> Table:
    """Return what facts() prints, for rich.live."""
    made = Table(show_header=False, box=None, pad_edge=False)
    made.add_column(style="dim", no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in pairs:
        cell = text(value)
        if cell.plain:
            made.add_row(Text(name), cell)
    return made


def text(value: Any) -> Text:
    """Return how a value is shown: times in UTC, None as nothing, text with control characters visible."""
    if isinstance(value, Text):
        return value
    if value is None:
        return Text()
    if isinstance(value, bool):
        return Text("yes" if value else "no")
    if isinstance(value, datetime):
        return Text(in_utc(value))
    if isinstance(value, timedelta):
        return Text(age(value.total_seconds()))
    if isinstance(value, float):
        return Text(f"{value:,.1f}")
    if isinstance(value, list | tuple):
        return Text(", ".join(text(part).plain for part in value))
    if isinstance(value, dict):
        return Text(shown(json.dumps(_plain(value), ensure_ascii=False)))
    return Text(shown(str(value)))


def shown(value: str) -> str:
    """Return text that is safe on a terminal: control characters, overrides of direction visible, no secrets."""
    return UNSEEN.sub(_escape, scrub(value))


def number(value: int | None) -> str:
    """Return a count with separators; ids are shown without, to be copied."""
    return "" if value is None else f"{value:,}"


def age(seconds: float | None) -> str:
    """Return a length of time in its largest sensible unit, such as '3 min'."""
    if seconds is None:
        return ""
    seconds = max(seconds, 0.0)
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 100 * 60:
        return f"{seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.0f} h"
    return f"{seconds / 86400:.0f} d"


def ago(at: datetime | None, now: datetime) -> str:
    """Return how far a time is from `now`, such as '3 min ago' or 'in 3 min'."""
    if at is None:
        return ""
    seconds = (now - at).total_seconds()
    return f"{age(seconds)} ago" if seconds >= 0 else f"in {age(-seconds)}"


def as_json_document(value: Any, *, scrubbed: bool = True) -> str:
    """Return `value` as an indented JSON document, in ASCII: safe on any terminal. `scrubbed`: without secrets."""
    return json.dumps(_plain(value, scrub if scrubbed else str), indent=2)


def as_json_line(value: Any) -> str:
    """Return `value` as one line of JSON, for streams, without secrets."""
    return json.dumps(_plain(value))


def print_json(value: Any, *, scrubbed: bool = True) -> None:
    """Print as_json_document(value)."""
    click.echo(as_json_document(value, scrubbed=scrubbed))


class _FarTimestamp(TimestamptzLoader):
    """Reads times beyond Python's years as the last, or first, that it has: one row must not hide the others."""

    def load(self, data: Any) -> datetime:
        try:
            return super().load(data)
        except psycopg.DataError:
            first = bytes(data).endswith(b"BC") or bytes(data).startswith(b"-")
            return (datetime.min if first else datetime.max).replace(tzinfo=UTC)


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    code = ord(character)
    return _NAMED.get(character) or (
        f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
    )


def _plain(value: Any, clean: Callable[[str], str] = scrub) -> Any:
    """Return `value` of what JSON knows, every text of it through `clean`."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {clean(str(key)): _plain(inner, clean) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(inner, clean) for inner in value]
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, date | UUID):
        return str(value)
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
