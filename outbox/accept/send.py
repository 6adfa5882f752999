"""Accept a message and know its id, also when it was accepted before."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING, Any, Unpack, overload

from outbox.accept.columns import TYPES, columns_of, parameter
from outbox.accept.door import run
from outbox.accept.message import Columns, Message
from outbox.accept.steps import Query

if TYPE_CHECKING:
    from outbox.accept.door import Async, Sync
    from outbox.accept.steps import Steps


@overload
def send(connection: Sync, chat_id: int | str, payload: Mapping[str, Any], **columns: Unpack[Columns]) -> int: ...
@overload
def send(
    connection: Async, chat_id: int | str, payload: Mapping[str, Any], **columns: Unpack[Columns]
) -> Awaitable[int]: ...
def send(
    connection: Sync | Async, chat_id: int | str, payload: Mapping[str, Any], **columns: Unpack[Columns]
) -> int | Awaitable[int]:
    """Do what enqueue does, but return the first message's id for an idempotency key that was used already.

    Raises what enqueue raises.
    """
    return run(connection, _sent(Message(chat_id, payload, **columns)))


def _sent(message: Message) -> Steps[int]:
    columns = columns_of(message)
    named = [f"p_{name} => {parameter(number, TYPES[name])}" for number, name in enumerate(columns, 1)]
    [[message_id]] = yield Query(f"SELECT outbox.send({', '.join(named)})", [*columns.values()])
    return int(message_id)
