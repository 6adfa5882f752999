"""What a call's end brings to the database and to whoever listens: result, settlement, event, log line."""

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest
import structlog

from outbox.deliver import events
from outbox.deliver.answer import Answer, Failure
from outbox.deliver.claim import Claims
from outbox.deliver.complete import Completion
from outbox.deliver.connections import Connections
from outbox.deliver.flight import Flight
from outbox.deliver.heartbeat import Lease
from outbox.deliver.lane import Lane, Result, Settlement
from outbox.deliver.pace import Clock, now_s, place
from outbox.deliver.send import Call, Sender
from outbox.deliver.wake import Alarm, Mood
from outbox.observe.logs import EventLog

PHOTO = {
    "message_id": 7,
    "date": 5,
    "photo": [{"file_id": "AgACx", "file_unique_id": "AQADx", "width": 1, "height": 1}],
}


class Api:
    """Answers every call the same way, as the sender would hand it on; None: there is no bot token."""

    def __init__(self, answer: Answer | Failure | None) -> None:
        self._answer = answer
        self.calls = 0

    async def send(self, bot: str, *_: Any, **__: Any) -> Call:
        if self._answer is None:
            raise KeyError(bot)
        self.calls += 1
        await asyncio.sleep(0)
        return Call(self._answer, started_s=0.0, round_trip_s=0.025, ended_s=0.0)


class Leased:
    """A lease that is held, or lost."""

    def __init__(self, held: bool = True) -> None:
        self._held = held

    def may_send(self, incarnation: int) -> bool:
        return self._held


class Told:
    """One lane carried to its end, and all that was told of it."""

    def __init__(self) -> None:
        self.results: list[Result] = []
        self.settlements: list[Settlement] = []
        self.events: list[events.Event] = []
        self.refused: list[str] = []


def _standing_clock() -> Clock:
    """The slot is due just now, and stays so however slow the machine is."""
    clock = Clock(lambda: 50.0)
    clock.observe(1000.0, 50.0, 50.0)
    return clock


def _lane(clock: Clock, slot: int | None = 11, method: str = "sendMessage") -> Lane:
    lane = Lane(
        incarnation=1,
        bot="alerts",
        chat_id="-100",
        message_id=5,
        attempt=2,
        method=method,
        payload='{"text":"hi"}',
        priority=2,
        on_uncertain="retry",
        correlation_id="order-17",
        slot=slot,
        slot_at_s=None if slot is None else 1000.0,
        created_at_s=999.0,
        due_at_s=999.0,
        claimed_s=clock.now_s(),
    )
    return place(lane, clock)


async def _carry(
    answer: Answer | Failure | None,
    *,
    slot: int | None = 11,
    method: str = "sendMessage",
    held: bool = True,
    allowed: Callable[[str], bool] = lambda chat_id: True,
    draining: bool = False,
) -> Told:
    told = Told()
    clock = _standing_clock()
    flight = Flight(
        cast("Sender", Api(answer)),
        cast("Lease", Leased(held)),
        clock,
        10,
        complete=told.results.append,
        settle=told.settlements.append,
        landed=lambda: None,
        emit=told.events.append,
        allowed=allowed,
        refused=told.refused.append,
    )
    if draining:
        await flight.drain(5)
    flight.launch(_lane(clock, slot, method))
    async with asyncio.timeout(5):
        while not told.results:
            await asyncio.sleep(0)
    await flight.drain(5)
    await asyncio.sleep(0)
    assert len(told.results) == len(told.settlements) == len(told.events) == 1
    return told


def _answer(code: int, text: str, **parameters: Any) -> Answer:
    body = {"ok": False, "error_code": code, "description": text, "parameters": parameters}
    return Answer(code, json.dumps(body).encode())


SENT = Answer(200, json.dumps({"ok": True, "result": PHOTO}).encode())


@pytest.mark.parametrize(
    ("answer", "method", "result", "retry_after_s"),
    [
        (SENT, "sendPhoto", "ok", None),
        (_answer(400, "Bad Request: message text is empty"), "sendMessage", "ok", None),
        (_answer(400, "Bad Request: x", migrate_to_chat_id=-1001), "sendMessage", "ok", None),
        (_answer(403, "Forbidden: bot was blocked by the user"), "sendMessage", "ok", None),
        (
            _answer(400, "Bad Request: not enough rights to send text messages to the chat"),
            "sendMessage",
            "refused",
            None,
        ),
        (_answer(429, "Too Many Requests: retry after 35", retry_after=35), "sendMessage", "flood", 35),
        (_answer(429, "Too Many Requests: retry after 35", retry_after=35), "sendMediaGroup", "flood", 35),
        (_answer(401, "Unauthorized"), "sendMessage", "unauthorised", None),
        (_answer(502, "Bad Gateway"), "sendMessage", "fail", None),
        (Failure("timeout", "no answer"), "sendMessage", "fail", None),
        (Failure("unreachable", "refused"), "sendMessage", "fail", None),
        (Failure("unsent", "held back"), "sendMessage", "unsent", None),
    ],
)
@pytest.mark.parametrize("slot", [11, None])
async def test_every_call_brings_a_settlement_also_without_a_slot(
    answer: Answer | Failure, method: str, result: str, retry_after_s: float | None, slot: int | None
) -> None:
    [settlement] = (await _carry(answer, slot=slot, method=method)).settlements
    assert (settlement.bot, settlement.chat_id, settlement.slot) == ("alerts", "-100", slot)
    assert (settlement.result, settlement.retry_after_s) == (result, retry_after_s)
    assert settlement.round_trip_s == (None if result == "unsent" else 0.025)


async def test_a_result_says_what_telegram_answered() -> None:
    [result] = (await _carry(SENT, method="sendPhoto")).results
    assert (result.outcome, result.meaning, result.reach) == ("sent", "sent", "message")
    assert result.telegram_answer == {"message_id": 7, "date": 5, "file_id": "AgACx", "file_unique_id": "AQADx"}
    assert result.correlation_id == "order-17"


async def test_a_result_says_where_the_chat_has_moved() -> None:
    [result] = (await _carry(_answer(400, "Bad Request: upgraded", migrate_to_chat_id=-1001))).results
    assert (result.outcome, result.meaning, result.reach) == ("retry", "migrated", "chat")
    assert result.migrate_to == "-1001"


@pytest.mark.parametrize(
    ("carried", "reason"),
    [
        ({"answer": SENT, "held": False}, "lease"),
        ({"answer": SENT, "draining": True}, "stopping"),
        ({"answer": Failure("unsent", "held back")}, "stale"),
        ({"answer": None}, "no_token"),
    ],
)
async def test_what_is_given_back_keeps_its_correlation_id(carried: dict[str, Any], reason: str) -> None:
    told = await _carry(**carried)
    assert (told.results[0].outcome, told.results[0].correlation_id) == ("unsent", "order-17")
    assert told.settlements[0].result == "unsent"
    assert told.events == [events.GivenBack("alerts", "-100", 5, 2, "order-17", reason)]


async def test_a_chat_that_is_not_allowed_is_discarded_and_nothing_is_sent() -> None:
    told = await _carry(None, allowed=lambda chat_id: chat_id != "-100")
    [result] = told.results
    assert (result.outcome, result.error_class, result.correlation_id) == ("discard", "not_allowed", "order-17")
    assert told.settlements[0].result == "unsent"
    assert told.events == [events.GivenBack("alerts", "-100", 5, 2, "order-17", "not_allowed")]


@pytest.mark.parametrize(
    ("answer", "refused"),
    [
        (_answer(401, "Unauthorized"), ["alerts"]),
        (_answer(404, "Not Found"), ["alerts"]),
        (_answer(404, "Not Found: method not found"), []),
        (_answer(400, "Bad Request: FLOODSKIP_NOT_ALLOWED"), []),
        (_answer(403, "Unauthorized: bot was kicked from a chat"), []),
        (SENT, []),
    ],
)
async def test_only_a_refused_bot_token_is_told_of_the_bot(answer: Answer, refused: list[str]) -> None:
    assert (await _carry(answer)).refused == refused


async def test_a_fault_in_who_is_told_of_a_refused_bot_token_gives_no_second_result() -> None:
    faults: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: faults.append(context["exception"]))
    results: list[Result] = []
    clock = _standing_clock()
    flight = Flight(
        cast("Sender", Api(_answer(401, "Unauthorized"))),
        cast("Lease", Leased()),
        clock,
        10,
        complete=results.append,
        settle=lambda settlement: None,
        landed=lambda: None,
        emit=events.ignore,
        refused=lambda bot: 1 // 0,  # type: ignore[arg-type,return-value]
    )
    flight.launch(_lane(clock))
    await flight.drain(5)
    await asyncio.sleep(0)
    assert [result.outcome for result in results] == ["retry"]
    assert [type(fault) for fault in faults] == [ZeroDivisionError]


class Database:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[list[dict[str, Any]]] = []

    async def call(self, query: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        if "register_worker" in query:
            return [(1,)]
        self.told.append(json.loads(parameters[-1]))
        return [(*[None] * 12, 1000.0, None, ["alerts"])] if "outbox.claim" in query else [(1,)]


async def test_claim_is_brought_all_that_a_settlement_knows() -> None:
    database = Database()
    connections = cast("Connections", database)
    claims = Claims(
        connections,
        Lease(connections, "w", lambda: ["alerts"], events.ignore),
        Clock(),
        Alarm(),
        Mood(),
        bots=lambda: ["alerts"],
        bell_works=lambda: True,
        emit=events.ignore,
    )
    claims.settle(Settlement("alerts", "-100", None, "flood", now_s(), 0.02, retry_after_s=35))
    assert await claims.settle_last() == 0
    [[told]] = database.told
    assert 0 <= told.pop("age_s") < 1
    assert told == {
        "bot": "alerts",
        "chat_id": "-100",
        "slot": None,
        "result": "flood",
        "round_trip_s": 0.02,
        "retry_after_s": 35,
    }


async def test_complete_is_told_all_that_a_result_knows() -> None:
    database = Database()
    completion = Completion(cast("Connections", database), flushed=lambda: None, emit=events.ignore)
    [result] = (await _carry(SENT, method="sendPhoto")).results
    completion.add(result)
    assert await completion.flush_last(5) == 0
    [[told]] = database.told
    assert {name: told[name] for name in ("meaning", "reach", "migrate_to", "correlation_id", "telegram_answer")} == {
        "meaning": "sent",
        "reach": "message",
        "migrate_to": None,
        "correlation_id": "order-17",
        "telegram_answer": {"message_id": 7, "date": 5, "file_id": "AgACx", "file_unique_id": "AQADx"},
    }


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (SENT, {"event": "sent"}),
        (_answer(429, "Too Many Requests: retry after 35", retry_after=35), {"event": "429", "retry_after_s": 35}),
        (_answer(503, "Service Unavailable"), {"event": "comes again", "error_class": "unavailable"}),
        (Failure("timeout", "no answer"), {"event": "uncertain", "error_class": "timeout"}),
        (_answer(400, "Bad Request: message text is empty"), {"event": "dead letter", "error_class": "bad_request"}),
        (None, {"event": "given back", "reason": "no_token"}),
    ],
)
async def test_every_log_line_of_a_message_carries_its_correlation_id(
    answer: Answer | Failure | None, said: dict[str, Any]
) -> None:
    told = await _carry(answer)
    with structlog.testing.capture_logs() as lines:
        log = EventLog("w1")
        for event in told.events:
            log(event)
    [line] = lines
    assert line | said == line
    assert (line["correlation_id"], line["message_id"], line["chat_id"]) == ("order-17", 5, "-100")
