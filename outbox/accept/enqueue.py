"""Accept messages on whatever connection the caller has, in its transaction."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Unpack, overload

from outbox.accept.door import run
from outbox.accept.insert import insertion
from outbox.accept.message import Columns, Message

if TYPE_CHECKING:
    from outbox.accept.door import Async, Sync
    from outbox.accept.steps import Steps


@overload
def enqueue(
    connection: Sync, chat_id: int | str, payload: Mapping[str, Any], **columns: Unpack[Columns]
) -> int | None: ...
@overload
def enqueue(
    connection: Async, chat_id: int | str, payload: Mapping[str, Any], **columns: Unpack[Columns]
) -> Awaitable[int | None]: ...
def enqueue(
    connection: Sync | Async, chat_id: int | str, payload: Mapping[str, Any], **columns: Unpack[Columns]
) -> int | Awaitable[int | None] | None:
    """Insert one message in the transaction that `connection` is in; return its id, to be awaited if that is async.

    None: the idempotency key was used already, nothing was stored; send returns the first one's id then. `columns`
    are the fields of Message. Sent only after the caller commits. Raises TypeError for a connection of no known kind,
    TypeError or ValueError before the database is touched for what no database could store (NaN, a datetime without
    time zone), and the driver's own error, with what to change in its hint, for what the database refuses.
    """
    return run(connection, _first(Message(chat_id, payload, **columns)))


@overload
def enqueue_many(connection: Sync, messages: Iterable[Message | Mapping[str, Any]]) -> list[int | None]: ...
@overload
def enqueue_many(connection: Async, messages: Iterable[Message | Mapping[str, Any]]) -> Awaitable[list[int | None]]: ...
def enqueue_many(
    connection: Sync | Async, messages: Iterable[Message | Mapping[str, Any]]
) -> list[int | None] | Awaitable[list[int | None]]:
    """Insert messages, thousands in one statement; return their ids in the order of `messages`.

    A message is a Message or a mapping of its fields. Within a chat they are sent in the order of `messages`. A
    statement takes up to 4 million characters of columns; more go as several. With idempotency keys the chats are
    inserted in their own order, so that two calls with the same keys wait for each other and do not deadlock; they
    still can if they order the same keys of one chat differently, or if one transaction makes several calls. Stores
    all that are not repeated or, raising what enqueue raises, nothing of the failed statement: roll back then,
    PostgreSQL has already ended the transaction.
    """
    return run(connection, insertion(messages))


def _first(message: Message) -> Steps[int | None]:
    ids = yield from insertion([message])
    return ids[0]
