"""Take back what waits."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, overload

from outbox.accept.columns import integer, parameter, text
from outbox.accept.door import run
from outbox.accept.steps import Query

if TYPE_CHECKING:
    from outbox.accept.door import Async, Sync
    from outbox.accept.steps import Steps


@overload
def cancel(
    connection: Sync,
    id: int | None = None,
    *,
    tag: str | None = None,
    correlation_id: str | None = None,
    bot: str | None = None,
) -> bool: ...
@overload
def cancel(
    connection: Async,
    id: int | None = None,
    *,
    tag: str | None = None,
    correlation_id: str | None = None,
    bot: str | None = None,
) -> Awaitable[bool]: ...
def cancel(
    connection: Sync | Async,
    id: int | None = None,
    *,
    tag: str | None = None,
    correlation_id: str | None = None,
    bot: str | None = None,
) -> bool | Awaitable[bool]:
    """Cancel, in the caller's transaction, the messages of one id, tag or correlation id; exactly one of the three.

    `bot` narrows it to one bot's. True: some of them waited; they end as `cancelled` once the caller commits, but for
    one that is being sent this moment. A tag covers all that was inserted until now, not what comes later. Raises
    ValueError for none or several of the three, TypeError for a value of another type, both before the database is
    touched, and TypeError for a connection of no known kind.
    """
    return run(connection, _cancelled(id, tag, correlation_id, bot))


def _cancelled(id: int | None, tag: str | None, correlation_id: str | None, bot: str | None) -> Steps[bool]:
    given = {"id": id, "tag": tag, "correlation_id": correlation_id, "bot": bot}
    values = {
        name: integer(name, value) if name == "id" else text(name, value)
        for name, value in given.items()
        if value is not None
    }
    if len(values.keys() - {"bot"}) != 1:
        raise ValueError(
            f"cancel takes one of id, tag and correlation_id, not {len(values.keys() - {'bot'})}."
            " Give outbox.cancel(connection, 17), outbox.cancel(connection, tag=…) or correlation_id=…."
        )
    named = [
        f"p_{name} => {parameter(number, 'bigint' if name == 'id' else 'text')}"
        for number, name in enumerate(values, 1)
    ]
    [[waited]] = yield Query(f"SELECT outbox.cancel({', '.join(named)})", [*values.values()])
    return bool(waited)
