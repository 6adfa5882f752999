"""Wait until a message has ended."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Final, overload

from outbox.accept.columns import parameter
from outbox.accept.door import run_idle
from outbox.accept.status import Status, status_in, status_of, status_query
from outbox.accept.steps import Listen, Pause, StopListening

if TYPE_CHECKING:
    from outbox.accept.door import Async, Sync
    from outbox.accept.steps import IdleSteps

CHANNEL: Final = "outbox_ended"
LONGEST_WATCH_S: Final = 86400.0  # outbox.watch refuses more; who waits longer looks on
FIRST_LOOK_S: Final = 0.2
LAST_LOOK_S: Final = 2.0
SLOWER: Final = 1.5


@overload
def wait(connection: Sync, id: int, timeout_s: float = 30.0) -> Status: ...
@overload
def wait(connection: Async, id: int, timeout_s: float = 30.0) -> Awaitable[Status]: ...
def wait(connection: Sync | Async, id: int, timeout_s: float = 30.0) -> Status | Awaitable[Status]:
    """Return the status of a message once it has ended, or the last one when `timeout_s` seconds have passed.

    `Status.ended` tells which. Hears of the end by LISTEN; beneath, and where no notification comes through (PgBouncer,
    a psycopg connection that listens already and keeps its notifications, a driver that only SQLAlchemy knows), looks
    every 0.2 s, slowing to 2 s. The connection is busy meanwhile, and idle, in no transaction and no longer listening
    afterwards, also when the wait is cancelled. A session waits on a connection of its engine.

    Raises RuntimeError if the connection is inside a transaction, since a message is sent only after its transaction
    commits, or in psycopg's pipeline mode; ValueError for a timeout below 0; TypeError or ValueError for what is no id;
    TypeError for a connection of no known kind; and the driver's own error for what fails meanwhile.
    """
    return run_idle(connection, _waiting(id, timeout_s))


def _waiting(id: int, timeout_s: float) -> IdleSteps[Status]:
    if math.isnan(timeout_s) or timeout_s < 0:
        raise ValueError(f"timeout_s is {timeout_s}. Give seconds, 0 to look once.")
    look = status_of(id)
    watch = status_query(
        f"outbox.watch({parameter(1, 'bigint')}, {parameter(2, 'float8')})",
        *look.parameters,
        str(float(min(timeout_s, LONGEST_WATCH_S))),
    )
    until_s = time.monotonic() + timeout_s
    pause_s = FIRST_LOOK_S
    try:
        yield Listen(CHANNEL, str(id))
        status = status_in((yield watch))
        while not status.ended and (left_s := until_s - time.monotonic()) > 0:
            yield Pause(min(pause_s, left_s))
            pause_s = min(pause_s * SLOWER, LAST_LOOK_S)
            status = status_in((yield look))
        return status
    finally:
        yield StopListening()
