"""The INSERT that accepts messages, one or many in a statement."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from outbox.accept.columns import TYPES, columns_of, parameter
from outbox.accept.message import Message
from outbox.accept.steps import Query, Rows, Steps

# Some drivers and the server hold a statement's text several times, at up to 4 bytes a character.
MOST_CHARACTERS: Final = 4_000_000

# As the table has them: among messages that set a column a statement has to say what the others get.
DEFAULTS: Final = {
    "bot": "'default'",
    "method": "'sendMessage'",
    "priority": "2",
    "next_attempt_at": "now()",
    "correlation_id": "CAST(gen_random_uuid() AS text)",
    "on_uncertain": "'retry'",
}


@dataclass(frozen=True, slots=True)
class Statement:
    """One INSERT … RETURNING id, and what tells keyed messages apart: correlation_id."""

    messages: list[dict[str, str]]
    """The messages' columns as text, in the order of insertion."""
    places: Sequence[int]
    """The place of each in the caller's order."""

    def query(self) -> Query:
        """Return text and parameters: a parameter for each column, whatever the number of messages."""
        set_somewhere = set[str]().union(*self.messages)
        returning = ["id", "correlation_id"] if "idempotency_key" in set_somewhere else ["id"]
        names = [name for name in TYPES if name in set_somewhere]
        if len(self.messages) == 1:
            [columns] = self.messages
            cells = [parameter(number, TYPES[name]) for number, name in enumerate(names, 1)]
            text = _insert(names, f"VALUES ({', '.join(cells)})", returning)
            return Query(text, [columns[name] for name in names])
        arrays, selected = [], []
        for name in names:
            values = [columns.get(name) for columns in self.messages]
            arrays.append(_array(values))
            one = f"CAST(r.{name} AS {TYPES[name]})"
            selected.append(f"coalesce({one}, {DEFAULTS[name]})" if name in DEFAULTS and None in values else one)
        # Of text arrays in step: measured a tenth faster than json_to_recordset, 1.5 to 1.9 times as fast as VALUES.
        unnested = ", ".join(f"CAST(CAST(${n} AS text) AS text[])" for n in range(1, len(names) + 1))
        rows = f"SELECT {', '.join(selected)} FROM unnest({unnested}) AS r ({', '.join(names)})"
        return Query(_insert(names, rows, returning), arrays)


def insertion(messages: Iterable[Message | Mapping[str, Any]]) -> Steps[list[int | None]]:
    """Yield the statements to execute, take the rows of each; return the ids in the order of `messages`.

    None stands for a message whose idempotency key was used already. Nothing is yielded before every message was
    looked at. Raises TypeError or ValueError for a message that no database could store.
    """
    columns = [columns_of(given_message(message)) for message in messages]
    ids: list[int | None] = [None] * len(columns)
    for statement in _statements(columns):
        rows = yield statement.query()
        for place, message_id in _placed_ids(statement, rows):
            ids[place] = message_id
    return ids


def given_message(given: object) -> Message:
    """Return the Message, made from a mapping of its fields if it is none yet; raise TypeError for anything else."""
    if isinstance(given, Message):
        return given
    if isinstance(given, Mapping):
        return Message(**given)
    raise TypeError(f"a message is of type {type(given).__name__}. Give outbox.Message(chat_id, payload, …) or a dict.")


def _insert(names: list[str], rows: str, returning: list[str]) -> str:
    return f"INSERT INTO outbox.message ({', '.join(names)}) {rows} RETURNING {', '.join(returning)}"


def _array(values: list[str | None]) -> str:
    """Return PostgreSQL's text for an array of text. No text holds a U+0000, so it can stand for what is between."""
    texts = "\0,".join(["\0-" if value is None else value for value in values])
    quoted = texts.replace("\\", "\\\\").replace('"', '\\"').replace("\0,", '","')
    return '{"' + quoted + '"}' if None not in values else ('{"' + quoted + '"}').replace('"\0-"', "NULL")


def _statements(messages: list[dict[str, str]]) -> Iterator[Statement]:
    if any("idempotency_key" in columns for columns in messages):
        yield from _keyed_statements(messages)
        return
    # Slices: a tuple and a list entry for each of 100,000 messages made the garbage collector half of the work here.
    start = characters = 0
    for place, columns in enumerate(messages):
        size = _characters(columns)
        if characters + size > MOST_CHARACTERS and place > start:
            yield Statement(messages[start:place], range(start, place))
            start, characters = place, 0
        characters += size
    if start < len(messages):
        yield Statement(messages[start:], range(start, len(messages)))


def _keyed_statements(messages: list[dict[str, str]]) -> Iterator[Statement]:
    placed: list[dict[str, str]] = []
    places: list[int] = []
    characters = 0
    seen: dict[str, bool] = {}  # correlation ids of this statement: whether a keyed message has it
    for place in _without_deadlocks(messages):
        columns = messages[place]
        keyed = "idempotency_key" in columns
        if keyed and "correlation_id" not in columns:
            # The only column that may be read back and can tell which message was not stored.
            columns = columns | {"correlation_id": str(uuid.uuid4())}
        name = columns.get("correlation_id")
        size = _characters(columns)
        if placed and (
            characters + size > MOST_CHARACTERS or (name is not None and name in seen and (keyed or seen[name]))
        ):
            yield Statement(placed, places)
            placed, places, characters, seen = [], [], 0, {}
        placed.append(columns)
        places.append(place)
        characters += size
        if name is not None:
            seen[name] = keyed or seen.get(name, False)
    yield Statement(placed, places)


def _characters(columns: dict[str, str]) -> int:
    return sum(map(len, columns.values()))


def _without_deadlocks(messages: list[dict[str, str]]) -> Iterable[int]:
    """Return the places in an order in which two calls with the same keys wait for each other, no more.

    By chat: a key belongs to one message and that to one chat. Not by key: the ids are drawn in this order, and within
    a chat they are the order of sending, which is the caller's to say.
    """
    places = range(len(messages))
    if sum("idempotency_key" in columns for columns in messages) > 1:
        return sorted(places, key=lambda place: _lane(messages[place]))
    return places


def _lane(columns: dict[str, str]) -> tuple[str, str]:
    return columns.get("bot", "default").lower(), columns["chat_id"].lower()


def _placed_ids(statement: Statement, rows: Rows) -> Iterable[tuple[int, int]]:
    """Rows come back in the order of insertion; only keyed messages can be missing, and each has a name of its own."""
    if len(rows) == len(statement.messages):
        return zip(statement.places, (int(row[0]) for row in rows), strict=True)
    left = iter(rows)
    row = next(left, None)
    placed = []
    for place, columns in zip(statement.places, statement.messages, strict=True):
        if row is not None and ("idempotency_key" not in columns or row[1] == columns["correlation_id"]):
            placed.append((place, int(row[0])))
            row = next(left, None)
    return placed
