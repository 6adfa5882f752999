"""One call serves many bots; n is for all of them together."""

from __future__ import annotations

from collections import Counter

from tests.invariants.calls import Connection, add_bot, claim, insert, register
from tests.invariants.frozen_clock import FrozenClock


def fill(connection: Connection, bot: str, count: int) -> None:
    connection.execute(
        "INSERT INTO outbox.message (bot, chat_id, payload) SELECT %s, i::text, '{}' FROM generate_series(1, %s) i",
        [bot, count],
    )


def test_n_is_for_all_bots_together(connection: Connection, frozen: FrozenClock) -> None:
    bots = [add_bot(connection, bot, rate=None) for bot in ("a", "b", "c")]
    for bot in bots:
        fill(connection, bot, 10)
    assert len(claim(connection, register(connection, *bots), n=7, bots=bots).lanes) == 7


def test_bots_that_were_not_asked_for_get_nothing(connection: Connection, frozen: FrozenClock) -> None:
    bots = [add_bot(connection, bot) for bot in ("a", "b")]
    for bot in bots:
        fill(connection, bot, 3)
    lanes = claim(connection, register(connection, *bots), bots=["b"]).lanes
    assert {lane.bot for lane in lanes} == {"b"}


def test_bots_of_equal_age_take_turns(connection: Connection, frozen: FrozenClock) -> None:
    bots = [add_bot(connection, bot, rate=None) for bot in ("a", "b", "c")]
    worker = register(connection, *bots)
    for bot in bots:
        fill(connection, bot, 40)
    given: Counter[str] = Counter()
    for _ in range(9):
        given.update(lane.bot for lane in claim(connection, worker, n=5, bots=bots).lanes)
        frozen.advance(0.1)
    assert set(given) == set(bots), f"45 lanes for three bots with 40 each: {given}"


def test_a_bot_with_an_old_backlog_does_not_starve_a_young_message_of_another(
    connection: Connection, frozen: FrozenClock
) -> None:
    bots = [add_bot(connection, "a", rate=None), add_bot(connection, "b")]
    worker = register(connection, *bots)
    fill(connection, "a", 300)
    insert(connection, 1, bot="b", priority=0)
    given = [lane.bot for _ in range(2) for lane in claim(connection, worker, n=10, bots=bots).lanes]
    assert "b" in given, "a critical message waits behind another bot's backlog"
