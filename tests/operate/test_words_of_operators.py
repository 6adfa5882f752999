"""What the command line and the page say and read in the same words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from outbox.operate.conditions import Conditions
from outbox.operate.policy import OPTIONS, policy_of, set_bot_call
from outbox.operate.sending_state import holds, state_of
from outbox.operate.times import in_utc, read_time
from outbox.operate.unseen import UNSEEN
from outbox.operate.words import PRIORITIES, STATUSES, priority_name

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)


def limits(**changed: Any) -> dict[str, Any]:
    """A row of outbox.limits of a bot that sends."""
    nothing = ("paused_until", "paused_reason", "breaker_until", "breaker_reason")
    return {"stopped": False, "unauthorised": False, "breaker": "closed"} | dict.fromkeys(nothing) | changed


@pytest.mark.parametrize(
    ("row", "served", "words"),
    [
        (limits(), True, []),
        (limits(), False, ["no worker"]),
        (limits(stopped=True), True, ["paused by an operator"]),
        (limits(stopped=True, unauthorised=True), False, ["paused by an operator", "bot token refused", "no worker"]),
        (limits(paused_until=NOW), True, []),
        (limits(paused_until=LATER, breaker="open"), True, ["breaker open", "paused by Telegram"]),
        (limits(breaker="half_open"), True, ["breaker half-open"]),
    ],
    ids=str,
)
def test_what_holds_a_bot_is_named_the_gravest_first(row: dict[str, Any], served: bool, words: list[str]) -> None:
    assert [hold.word for hold in holds(row, NOW, served=served)] == words
    assert state_of(row, NOW, served=served).word == (words or ["sends"])[0]


def test_a_hold_says_until_when_and_why() -> None:
    [hold] = holds(limits(paused_until=LATER, paused_reason="flood"), NOW, served=True)
    assert hold == ("paused by Telegram", "warn", LATER, "flood")


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("2026-03-01", datetime(2026, 3, 1, tzinfo=UTC)),
        (" 2026-03-01 14:30 ", datetime(2026, 3, 1, 14, 30, tzinfo=UTC)),
        ("2026-03-01T14:30:00+02:00", datetime(2026, 3, 1, 12, 30, tzinfo=UTC)),
    ],
)
def test_a_time_is_in_utc_unless_it_says_otherwise(written: str, expected: datetime) -> None:
    assert read_time(written) == expected


@pytest.mark.parametrize(("written", "s"), [("now", 0), ("2h", 7200), ("30 min", 1800), ("7d ago", 7 * 86400)])
def test_a_length_of_time_is_counted_back(written: str, s: int) -> None:
    assert abs((datetime.now(UTC) - read_time(written)).total_seconds() - s) < 60


@pytest.mark.parametrize("written", ["yesterday", "", "2 months", "999999w", "-2h", "2026-13-01", "2h\n3"])
def test_what_is_no_time_is_refused_in_words_that_help(written: str) -> None:
    with pytest.raises(ValueError, match=r"is no time\. Use 2h, 30min or 7d \(ago\), or 2026-03-01T14:30 \(UTC\)\."):
        read_time(written)


def test_a_time_is_written_to_the_second_in_utc() -> None:
    assert in_utc(NOW) == "2026-03-01 12:00:00 UTC"


def test_conditions_are_read_back_from_a_batch() -> None:
    stored = {"class": "timeout", "until": "2026-03-01T12:00:00+00:00", "ids": [1, 2]}
    assert Conditions.stored(stored) == Conditions(ids=(1, 2), error_class="timeout", until=NOW)
    assert Conditions.stored({}).empty


@pytest.mark.parametrize(
    "character", "\x00\x1b\n\x9b\u00ad\u061c\u200b\u200e\u2028\u202e\u2066\ufeff\ufffa\ud800\U000e0041"
)
def test_what_a_screen_obeys_or_hides_is_known(character: str) -> None:
    assert UNSEEN.fullmatch(character)


def test_what_people_write_is_left_alone() -> None:
    assert not UNSEEN.search("a é ж 漢 👩\u200d👩\u200d👧 ا‌ب")


def test_every_option_of_the_policy_is_an_argument_of_set_bot(db: Any) -> None:
    [(arguments,)] = db.execute("SELECT proargnames FROM pg_proc WHERE oid = 'outbox.set_bot'::regproc")
    assert {f"p_{option.name}" for option in OPTIONS} == set(arguments) - {"p_bot"}
    with db.connect() as connection:
        query, parameters = set_bot_call("alerts", {"rate": 20, "keep_payload": False})
        connection.execute(query, parameters)
        columns = connection.execute("SELECT * FROM outbox.bot WHERE bot = 'alerts'")
        policy = policy_of(
            dict(zip((one.name for one in columns.description or ()), columns.fetchone() or (), strict=True))
        )
    assert (policy["rate"], policy["keep_payload"], policy["allow_paid_broadcast"]) == (20, False, True)


def test_the_words_are_those_of_the_database(db: Any) -> None:
    assert [priority_name(number) for number in range(4)] == [f"{n} {name}" for n, name in enumerate(PRIORITIES)]
    db.execute("SELECT outbox.count_messages(p_status => %s)", [list(STATUSES)])


def test_house_is_kept_while_its_lease_or_a_worker_lives(db: Any, clock: Any) -> None:
    assert db.execute("SELECT outbox.house_is_kept()") == [(False,)]
    db.execute("SELECT outbox.keep_house('h')")
    assert db.execute("SELECT outbox.house_is_kept()") == [(True,)]
    clock.advance(16)
    assert db.execute("SELECT outbox.house_is_kept()") == [(False,)]
    db.execute("SELECT outbox.register_worker('w', ARRAY['default'], 'host', 1, 'test')")
    assert db.execute("SELECT outbox.house_is_kept()") == [(True,)]
    clock.advance(60)
    assert db.execute("SELECT outbox.house_is_kept(), w.state FROM outbox.workers w") == [(False, "lost")]
