"""The dry check says what the database says, word for word, over generated messages."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict

import outbox
from outbox import Message, Priority, RefusedError

SECRET = "s3cret-of-the-payload"
ACCEPTED = ("", "")
LARGEST = 262144 - len('{"text": ""}')

# For bots: beyond ASCII the database's locale says what is lower-cased.
CASELESS = st.characters(codec="utf-8", exclude_characters="\0").filter(lambda c: c.isascii() or c.lower() == c)
ANY_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"))


def _near(*lengths: int) -> st.SearchStrategy[str]:
    """Texts around a limit, of one character repeated: the limit counts characters, not bytes."""
    return st.builds(
        lambda character, length, more: character * (length + more),
        st.sampled_from("xX0ü🎉_"),
        st.sampled_from(lengths),
        st.integers(-1, 1),
    )


CHATS = st.one_of(
    st.integers(-(10**20), 10**20).filter(lambda n: -(2**63) <= n < 2**63),
    st.sampled_from(["0", "042", "-", "-0", "--1", "@abc", "@ABC", "@a-b", "@1ab", "42\n", " 42", "+42", "٤٢", ""]),
    st.from_regex(r"@[A-Za-z][A-Za-z0-9_]{0,70}", fullmatch=True),
    st.from_regex(r"-?[0-9]{1,25}", fullmatch=True),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=100),
)
BOTS = st.one_of(st.sampled_from(["default", "DEFAULT", "nobody", ""]), _near(63), st.text(CASELESS, max_size=80))
METHODS = st.one_of(
    st.sampled_from(["sendMessage", "SENDPHOTO", "x", "send message", "sendMessage\n", "/../getMe", "send_x", "é" * 5]),
    _near(1, 64, 80),
    ANY_TEXT,
)
NAMES = st.one_of(_near(1, 200), ANY_TEXT)
NUMBERS = st.one_of(st.integers(-2, 5), st.sampled_from([-(2**15), 2**15 - 1]))
TIMES = st.datetimes(
    datetime(1, 1, 3),
    datetime(9999, 12, 29),
    timezones=st.builds(timezone, st.timedeltas(timedelta(hours=-23, minutes=-59), timedelta(hours=23, minutes=59))),
)
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**40), 10**40), st.floats(allow_nan=False, allow_infinity=False), ANY_TEXT
)
KEYS = st.one_of(
    ANY_TEXT, st.integers(0, 3), st.sampled_from(["0", "1", "true", True, None, "null", 1.5, "1.5", 1e300])
)
TREES = st.recursive(
    LEAVES, lambda some: st.one_of(st.lists(some, max_size=4), st.dictionaries(KEYS, some, max_size=4)), max_leaves=12
)
PAYLOADS = st.dictionaries(KEYS, TREES, max_size=5)

COLUMNS: dict[str, st.SearchStrategy[Any]] = {
    "bot": BOTS,
    "method": METHODS,
    "priority": NUMBERS,
    "next_attempt_at": TIMES,
    "expires_at": TIMES,
    "max_attempts": st.one_of(NUMBERS, st.sampled_from([-(2**31), 2**31 - 1])),
    "correlation_id": NAMES,
    "idempotency_key": NAMES,
    "collapse_key": NAMES,
    "on_uncertain": st.one_of(st.sampled_from(["retry", "hold", "Hold", "", "maybe"]), _near(80), ANY_TEXT),
    "tag": NAMES,
    "target_id": st.one_of(st.integers(-2, 2), st.sampled_from([-(2**63), -(2**31)])),
}
MESSAGES = st.builds(
    lambda chat_id, payload, columns: Message(chat_id, payload, **columns),
    st.one_of(st.just(42), CHATS),
    PAYLOADS,
    # Mostly few, so that one fault is seldom hidden behind another.
    st.one_of(
        *(st.fixed_dictionaries({name: column}) for name, column in COLUMNS.items()),
        st.fixed_dictionaries({}, optional=COLUMNS),
    ),
)


@pytest.fixture(scope="module")
def writer(server: Any, template: Any) -> Iterator[psycopg.Connection[Any]]:
    """One connection for all of what is tried and rolled back."""
    database = server.create_database(str(conninfo_to_dict(template.url)["dbname"]))
    with database.connect() as connection:
        # Ids that a target may have, of messages that are gone.
        connection.execute("SELECT nextval('outbox.message_id_seq') FROM generate_series(1, 10)")
        yield connection
    server.drop_database(database)


def _dry(message: Message) -> tuple[str, str]:
    try:
        outbox.check(message)
    except RefusedError as refusal:
        return str(refusal), refusal.hint
    return ACCEPTED


def _database(writer: psycopg.Connection[Any], message: Message) -> tuple[str, str]:
    try:
        with writer.transaction(force_rollback=True):
            outbox.enqueue(writer, **{name: getattr(message, name) for name in ("chat_id", "payload", *COLUMNS)})
    except psycopg.errors.IntegrityError as refusal:
        if "outbox.set_bot" in str(refusal.diag.message_hint):
            return ACCEPTED  # but for the bot, which only the database knows
        return str(refusal.diag.message_primary), str(refusal.diag.message_hint)
    return ACCEPTED


@settings(
    max_examples=600,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(message=MESSAGES)
@example(message=Message(42, {}))
@example(message=Message("@Name", {}, bot="Default", priority=Priority.critical))
def test_the_dry_verdict_message_and_hint_are_the_databases(writer, message):
    assert _dry(message) == _database(writer, message)


EDGES = [
    *(Message(sign + "9" * digits, {}) for sign in ("", "-") for digits in (1, 18, 19, 20)),
    *(Message("@" + "a" * letters, {}) for letters in (2, 3, 64, 65)),
    *(Message("@" + "A_9" * letters, {}) for letters in (1, 2, 30)),
    *(
        Message(chat_id, {})
        for chat_id in ("٤٢", "4٢", "@ab٢", "@añb", "42\n", "@abc\n", "\n42", "@_ab", "@9ab", "-", "@")
    ),
    *(Message(1, {}, method=letter * length) for letter in "sS" for length in (1, 2, 64, 65)),
    *(Message(1, {}, method=method) for method in ("send\n", "sénd", "s3nd", "")),
    *(Message(1, {}, bot=letter * length) for letter in "bB🎉" for length in (62, 63, 64)),
    *(
        Message(1, {}, **{name: letter * length})
        for name in ("correlation_id", "idempotency_key", "collapse_key", "tag")
        for letter in "n🎉"
        for length in (199, 200, 201)
    ),
    *(Message(1, {}, priority=priority) for priority in range(-2, 6)),
    *(Message(1, {}, max_attempts=most) for most in (-1, 0, 1, 2)),
    *(Message(1, {}, target_id=target_id) for target_id in (-1, 0, 1, 2)),
    *(Message(1, {}, on_uncertain=value) for value in ("retry", "hold", "HOLD", "hold ", "x" * 79, "x" * 80, "x" * 81)),
]


@pytest.mark.parametrize("message", EDGES, ids=range(len(EDGES)))
def test_at_every_edge_the_dry_check_and_the_database_agree(writer, message):
    assert _dry(message) == _database(writer, message)


SIZES: list[dict[Any, Any]] = [
    {"text": "x" * LARGEST},
    {"text": "x" * (LARGEST + 1)},
    {"text": "ü" * (LARGEST // 2) + "x" * (LARGEST % 2)},
    {"text": "ü" * (LARGEST // 2 + 1)},
    {"text": "🎉" * 70_000},
    {"text": '"\\\n\t\x01\x7f' * 20_000},
    {"text": "x" * (LARGEST - 303), "n": 1e300},
    {"n": [1e300] * 869},
    {"n": [1e300] * 870},
    {"n": [1e-300] * 860},
    {"n": [5e-324, -5e-324, 1.7976931348623157e308, -1e22, 1e16, 1.5e16, 1e-7, -0.0, 0.0, 1.0, 123456.789] * 150},
    {"n": [1.2345678901234567e16, 1e21, 1e23, 2.5e-5] * 4_000},
    {1e300: "x" * (LARGEST - 8)},
    {"n": [10**4000] * 65},
    {"n": [10**4000] * 66},
    {1: "x" * LARGEST, "1": "y"},
    {"1": "y", 1: "x" * LARGEST},
    {"a": {True: "x" * LARGEST, "true": 1}},
    {"n": [[]] * 65_532},
    {"n": [{}] * 65_600},
    {"n": [True, False, None] * 15_000},
]


@pytest.mark.parametrize("payload", SIZES, ids=range(len(SIZES)))
def test_a_payload_is_measured_as_the_database_measures_it(writer, payload):
    message = Message(1, payload)
    assert _dry(message) == _database(writer, message)


@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(payload=PAYLOADS)
def test_a_generated_payload_has_as_many_bytes_as_the_database_says(writer, payload):
    from outbox.accept.check import _jsonb_octets
    from outbox.accept.columns import columns_of

    document = columns_of(Message(1, payload))["payload"]
    [(octets,)] = writer.execute("SELECT octet_length(CAST(CAST(%s AS text) AS jsonb)::text)", [document]).fetchall()
    assert _jsonb_octets(document) == octets


def test_a_payload_may_be_as_deep_as_python_can_write_it(writer):
    for depth in (500, sys.getrecursionlimit() - 200):
        payload: dict[str, Any] = {}
        for _ in range(depth):
            payload = {"in": payload}
        assert _dry(Message(1, payload)) == _database(writer, Message(1, payload)) == ACCEPTED


@pytest.mark.parametrize(
    "name", ["@\N{KELVIN SIGN}elvin", "@\N{LATIN CAPITAL LETTER I WITH DOT ABOVE}van", "@ſame", "@ÄB"]
)
def test_a_letter_that_a_locale_would_lower_to_ascii_is_none_in_a_chats_name(writer, name):
    assert _dry(Message(name, {})) == _database(writer, Message(name, {}))
    with pytest.raises(RefusedError, match="is neither a number nor a @name"):
        outbox.check(Message(name, {}))


def test_what_enqueue_refuses_before_the_database_is_refused_in_the_same_words(writer):
    wrong: list[dict[str, Any]] = [
        {"payload": {"x": float("nan")}},
        {"payload": {"text": SECRET + "\0"}},
        {"payload": None},
        {"chat_id": None},
        {"priority": 2**15},
        {"expires_at": datetime(2026, 1, 1)},
        {"tag": 7},
    ]
    for columns in wrong:
        message: dict[str, Any] = {"chat_id": 1, "payload": {}} | columns
        with pytest.raises((TypeError, ValueError)) as dry:
            outbox.check(message)
        with pytest.raises((TypeError, ValueError)) as real:
            outbox.enqueue(writer, **message)
        assert not isinstance(dry.value, RefusedError)
        assert (type(dry.value), str(dry.value)) == (type(real.value), str(real.value))


def test_a_refusal_is_a_value_error_with_a_hint_and_shows_no_payload():
    with pytest.raises(ValueError, match="priority 9 does not exist") as refusal:
        outbox.check({"chat_id": 1, "payload": {"text": SECRET}, "priority": 9})
    assert isinstance(refusal.value, RefusedError)
    assert refusal.value.hint == "Use 0 critical, 1 high, 2 normal or 3 low."
    with pytest.raises(RefusedError, match="payload has 300000 bytes") as refusal:
        outbox.check(Message(1, {"text": SECRET.ljust(300_000 - len('{"text": ""}'))}))
    assert SECRET not in str(refusal.value)


def test_a_message_that_is_none_is_refused():
    with pytest.raises(TypeError, match="a message is of type str"):
        outbox.check("hi")  # type: ignore[arg-type]


def test_a_good_message_is_returned_from_in_silence():
    at = datetime.now(UTC) + timedelta(hours=1)
    assert outbox.check(Message("@Name", {"text": "hi"}, tag="t", next_attempt_at=at, target_id=3)) is None
