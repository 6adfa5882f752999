"""A worker's hands in SQL: claims, tells what Telegram answered to complete(), and brings the settlements along."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from tests.invariants.calls import Claim, Connection, Lane, claim, complete, register, result
from tests.invariants.frozen_clock import FrozenClock


class Answer(NamedTuple):
    """What a worker makes of one answer: for complete(), and for its slot's settlement."""

    outcome: str
    settle: str
    columns: dict[str, Any]


def _refusal(error_class: str, settle: str = "refused") -> Answer:
    text = f"Telegram's words for {error_class}"
    columns = {"meaning": "chat_suppressed", "reach": "chat", "error_class": error_class, "error_text": text}
    return Answer("dead", settle, columns | {"http_status": 403})


def _of_bot(outcome: str, settle: str, error_class: str) -> Answer:
    return Answer(outcome, settle, {"meaning": "bot_level", "reach": "bot", "error_class": error_class})


ANSWERS = {
    "sent": Answer("sent", "ok", {"meaning": "sent", "reach": "message", "http_status": 200}),
    "bad request": Answer("dead", "ok", {"meaning": "dead", "reach": "message", "error_class": "bad_request"}),
    "unavailable": Answer("retry", "fail", {"meaning": "retry", "reach": "message", "error_class": "unavailable"}),
    "timeout": Answer("uncertain", "fail", {"meaning": "uncertain", "reach": "message", "error_class": "timeout"}),
    "flood": Answer("wait", "flood", {"meaning": "wait", "reach": "chat", "error_class": "flood", "http_status": 429}),
    "unsent": Answer("unsent", "unsent", {}),
    "discard": Answer("discard", "unsent", {"error_class": "not_allowed"}),
    # Certain, so one is evidence enough, and never counted by the brake.
    "blocked": _refusal("blocked", "ok"),
    "deactivated": _refusal("deactivated", "ok"),
    "kicked": _refusal("kicked", "ok"),
    # These may be Telegram's own fault.
    "no_rights": _refusal("no_rights"),
    "chat_not_found": _refusal("chat_not_found"),
    "unauthorised": _of_bot("retry", "unauthorised", "bot_unauthorized"),
    "paid broadcast refused": _of_bot("retry", "ok", "paid_broadcast_refused"),
    "migrated": Answer("retry", "ok", {"meaning": "migrated", "reach": "chat", "error_class": "migrated"}),
}


class Sender:
    """One worker of one or more bots; time is the test's."""

    def __init__(self, connection: Connection, frozen: FrozenClock, *bots: str) -> None:
        self._connection = connection
        self._frozen = frozen
        self.bots = bots or ("default",)
        self.worker = register(connection, *self.bots)
        self._owed: list[tuple[datetime, dict[str, Any]]] = []

    def claim(self, n: int = 30) -> Claim:
        """Claim, bringing what is owed."""
        brought = list(self._owed)
        told = [owed | {"age_s": (self._frozen.at - at).total_seconds()} for at, owed in brought]
        answer = claim(self._connection, self.worker, n, self.bots, told)
        self._owed = [owed for owed in self._owed if owed[1]["bot"] not in answer.settled]
        return answer

    def settle(self) -> None:
        """Bring what is owed and claim nothing."""
        self.claim(0)
        assert not self._owed, "another holds the bucket"

    def take(self, count: int, within_s: float = 3.0) -> list[Lane]:
        """Claim until so many lanes are in hand, unanswered."""
        lanes: list[Lane] = []
        for _ in range(int(within_s / 0.1)):
            lanes += self.claim(count - len(lanes)).lanes
            if len(lanes) == count:
                return lanes
            self._frozen.advance(0.1)
        raise AssertionError(f"only {len(lanes)} of {count} lanes within {within_s:g} s")

    def answer(self, lanes: Lane | Iterable[Lane], answer: str = "sent", **columns: Any) -> int:
        """Tell this answer of these lanes, just come; return how many complete() applied as their owner's."""
        given = [lanes] if isinstance(lanes, Lane) else list(lanes)
        outcome, settle, usual = ANSWERS[answer]
        told = {"outcome": outcome} | usual | columns
        for lane in given:
            self._owed.append(
                (
                    self._frozen.at,
                    {
                        "bot": lane.bot,
                        "slot": lane.slot,
                        "result": settle,
                        # Unknown: an answer may come right after its slot here.
                        "round_trip_s": None,
                        "chat_id": lane.chat_id,
                        "retry_after_s": told.get("retry_after_s"),
                    },
                )
            )
        results = [result(lane, **(told | {"correlation_id": lane.correlation_id})) for lane in given]
        return complete(self._connection, self.worker, results)

    def tell(self, result: str, chat_id: object = 1, **columns: Any) -> None:
        """Owe a settlement of a bot without limit, such as only the breaker counts."""
        settlement = {"bot": self.bots[0], "slot": None, "result": result, "chat_id": str(chat_id)} | columns
        self._owed.append((self._frozen.at, settlement))

    def deliver(self, seconds: float, answer: str = "sent", step_s: float = 0.1, **columns: Any) -> list[Lane]:
        """Claim for so long, and answer each lane at the first step after its slot; return what was claimed."""
        lanes: list[Lane] = []
        flying: list[Lane] = []
        end = self._frozen.at + timedelta(seconds=seconds)
        while self._frozen.at < end or flying:
            landed = [lane for lane in flying if lane.slot_at is None or lane.slot_at <= self._frozen.at]
            flying = [lane for lane in flying if lane not in landed]
            if landed:
                self.answer(landed, answer, **columns)
            if self._frozen.at < end:
                given = self.claim().lanes
                lanes += given
                flying += given
            self._frozen.advance(step_s)
        return lanes


def fill(connection: Connection, chats: int, first: int = 1, **columns: Any) -> None:
    """Insert one message for each of so many chats."""
    row = {"priority": 2, "bot": "default", "max_attempts": None} | columns
    connection.execute(
        "INSERT INTO outbox.message (chat_id, payload, priority, bot, max_attempts)"
        ' SELECT i::text, \'{"text": "hi"}\', %s, %s, %s FROM generate_series(%s::int, %s) i',
        [row["priority"], row["bot"], row["max_attempts"], first, first + chats - 1],
    )


def bucket(connection: Connection, column: str, bot: str = "default") -> Any:
    """Return one column of the bot's bucket."""
    row = connection.execute(f"SELECT {column} FROM outbox.bucket WHERE bot = %s", [bot]).fetchone()
    assert row is not None
    return row[0]
