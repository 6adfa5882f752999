"""The INSERT that accepts messages, for every driver."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from outbox.accept.message import Message, columns_of

Rows = Sequence[Sequence[Any]]
Insertion = Generator["Statement", Rows, list[int | None]]

# What a driver is asked to bind. asyncpg, which may sit under SQLAlchemy, counts parameters in 15 bits.
MOST_PARAMETERS = 32_000
MOST_CHARACTERS = 16_000_000

TYPES = {
    "bot": "text",
    "chat_id": "text",
    "method": "text",
    "payload": "jsonb",
    "priority": "smallint",
    "next_attempt_at": "timestamptz",
    "expires_at": "timestamptz",
    "max_attempts": "int",
    "correlation_id": "text",
    "idempotency_key": "text",
    "collapse_key": "text",
    "on_uncertain": "text",
    "tag": "text",
}


@dataclass(slots=True)
class Statement:
    """One INSERT … RETURNING id, correlation_id."""

    placed: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    """The messages in the order of insertion: place in the caller's order, columns as text."""

    def render(self, placeholder: Callable[[int], str]) -> tuple[str, list[str]]:
        """Return text and parameters; `placeholder` writes the n-th of them, from 0."""
        names = [name for name in TYPES if any(name in columns for _, columns in self.placed)]
        parameters: list[str] = []
        rows = []
        for _, columns in self.placed:
            cells = []
            for name in names:
                if name in columns:
                    # Cast twice, so that no driver asks for its own idea of a smallint or of a str.
                    cells.append(f"CAST(CAST({placeholder(len(parameters))} AS text) AS {TYPES[name]})")
                    parameters.append(columns[name])
                else:
                    cells.append("DEFAULT")
            rows.append(f"({', '.join(cells)})")
        text = f"INSERT INTO outbox.message ({', '.join(names)}) VALUES {', '.join(rows)} RETURNING id, correlation_id"
        return text, parameters


def insertion(messages: Iterable[Message | Mapping[str, Any]]) -> Insertion:
    """Yield the statements to execute, take the rows of each; return the ids in the order of `messages`.

    None stands for a message whose idempotency key was used already. Nothing is yielded before every message was
    looked at. Raises TypeError or ValueError for a message that no database could store.
    """
    columns = [columns_of(_message(message)) for message in messages]
    ids: list[int | None] = [None] * len(columns)
    for statement in _statements(columns):
        rows = yield statement
        for place, message_id in _placed_ids(statement, rows):
            ids[place] = message_id
    return ids


def _message(given: object) -> Message:
    if isinstance(given, Message):
        return given
    if isinstance(given, Mapping):
        return Message(**given)
    raise TypeError(f"a message is of type {type(given).__name__}. Give outbox.Message(chat_id, payload, …) or a dict.")


def _statements(all_columns: list[dict[str, str]]) -> Iterable[Statement]:
    statement = Statement()
    names: set[str] = set()
    characters = 0
    seen: dict[str, bool] = {}  # correlation ids of this statement: whether a keyed message has it
    for place, columns in _without_deadlocks(all_columns):
        keyed = "idempotency_key" in columns
        if keyed and "correlation_id" not in columns:
            # The only column that may be read back and can tell which message was not stored.
            columns = columns | {"correlation_id": str(uuid.uuid4())}
        name = columns.get("correlation_id")
        size = sum(map(len, columns.values()))
        if statement.placed and (
            (len(statement.placed) + 1) * len(names | columns.keys()) > MOST_PARAMETERS
            or characters + size > MOST_CHARACTERS
            or (name in seen and (keyed or seen[name]))
        ):
            yield statement
            statement, names, characters, seen = Statement(), set(), 0, {}
        statement.placed.append((place, columns))
        names |= columns.keys()
        characters += size
        if name is not None:
            seen[name] = keyed or seen.get(name, False)
    if statement.placed:
        yield statement


def _without_deadlocks(all_columns: list[dict[str, str]]) -> list[tuple[int, dict[str, str]]]:
    """Return the messages, numbered, in an order in which two calls with the same keys wait for each other, no more.

    By chat: a key belongs to one message and that to one chat. Not by key: the ids are drawn in this order, and within
    a chat they are the order of sending, which is the caller's to say.
    """
    placed = list(enumerate(all_columns))
    if sum("idempotency_key" in columns for columns in all_columns) > 1:
        placed.sort(key=lambda one: (one[1].get("bot", "default").lower(), one[1]["chat_id"].lower()))
    return placed


def _placed_ids(statement: Statement, rows: Rows) -> Iterable[tuple[int, int]]:
    """Rows come back in the order of VALUES; only keyed messages can be missing, and each has a name of its own."""
    left = iter(rows)
    row = next(left, None)
    for place, columns in statement.placed:
        if row is not None and ("idempotency_key" not in columns or row[1] == columns["correlation_id"]):
            yield place, int(row[0])
            row = next(left, None)
