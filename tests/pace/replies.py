"""What a bot calls for its own replies, as the tests of acquire and settle do."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from tests.invariants.calls import Connection, Lane, Settlement
from tests.invariants.calls import settlement as queue_settlement
from tests.invariants.frozen_clock import FrozenClock


@dataclass(frozen=True)
class Answer:
    """What acquire said."""

    ticket: int | None
    slot_at: datetime | None
    delay_s: float


def acquire(connection: Connection, chat_id: str | int, cost: int = 1, bot: str = "default") -> Answer:
    row = connection.execute("CALL outbox.acquire(%s, %s, %s)", [bot, str(chat_id), cost]).fetchone()
    assert row is not None
    return Answer(*row)


def settle(
    connection: Connection,
    ticket: int | None,
    age_s: float = 0,
    result: str = "ok",
    retry_after_s: float | None = None,
) -> None:
    connection.execute("CALL outbox.settle(%s, %s, %s, %s)", [ticket, age_s, result, retry_after_s])


def given(connection: Connection, chat_id: str | int, cost: int = 1) -> tuple[int, datetime]:
    answer = acquire(connection, chat_id, cost)
    assert answer.ticket is not None
    assert answer.slot_at is not None
    return answer.ticket, answer.slot_at


def next_send_at(connection: Connection, chat_id: str | int) -> datetime | None:
    row = connection.execute("SELECT next_send_at FROM outbox.chat WHERE chat_id = %s", [str(chat_id)]).fetchone()
    assert row is not None
    return row[0]  # type: ignore[no-any-return]


def answered_at_once(lane: Lane, frozen: FrozenClock) -> Settlement:
    return queue_settlement(lane, age_s=(frozen.at - lane.slot_at).total_seconds())
