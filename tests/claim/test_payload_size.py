"""A frozen worker that does not read its answer holds the bucket: a claim carries at most 1 MB of payload."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest

from tests.invariants.calls import Claim, Connection, add_bot, claim, insert, register
from tests.invariants.frozen_clock import FrozenClock

MOST_BYTES = 1_048_576


def bytes_of(answer: Claim) -> int:
    return sum(len(json.dumps(lane.payload, ensure_ascii=False).encode()) for lane in answer.lanes)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("ab" * 120_000, id="compressible"),
        pytest.param("".join(chr(0x4E00 + i * 7919 % 20000) for i in range(80_000)), id="incompressible"),
        pytest.param('"' * 120_000, id="escaped"),
    ],
)
def test_a_claim_carries_at_most_a_megabyte(connection: Connection, frozen: FrozenClock, text: str) -> None:
    worker = register(connection)
    for chat_id in range(1, 11):
        insert(connection, chat_id, {"text": text})
    first = claim(connection, worker)
    assert 0 < bytes_of(first) <= MOST_BYTES
    frozen.advance(2)
    assert claim(connection, worker).lanes, "what did not fit goes with a later claim"


def test_several_bots_in_one_call_share_the_megabyte(connection: Connection, frozen: FrozenClock) -> None:
    bots = [add_bot(connection, bot) for bot in ("a", "b", "c")]
    worker = register(connection, *bots)
    for bot in bots:
        for chat_id in range(1, 4):
            insert(connection, chat_id, {"text": "x" * 200_000}, bot=bot)
    assert 0 < bytes_of(claim(connection, worker, bots=bots)) <= MOST_BYTES


def test_what_did_not_fit_keeps_its_place(connection: Connection, frozen: FrozenClock) -> None:
    worker = register(connection)
    expected = [insert(connection, chat_id, {"text": "x" * 250_000}) for chat_id in range(1, 10)]
    claimed: list[int] = []
    while len(claimed) < len(expected):
        claimed += claim(connection, worker).message_ids
        frozen.advance(0.2)
    assert claimed == expected


def test_a_payload_that_grows_beyond_a_megabyte_as_text_is_refused_or_sent_but_never_in_the_way(
    connection: Connection, frozen: FrozenClock
) -> None:
    # 1e100000 is 8 bytes as jsonb and 100,001 characters as text: 3 kB written, 30 MB read.
    payload: dict[str, Any] = {"numbers": "numbers"}
    worker = register(connection)
    text = json.dumps(payload).replace('"numbers"}', "[" + ",".join(["1e100000"] * 300) + "]}")
    try:
        connection.execute("INSERT INTO outbox.message (chat_id, payload, priority) VALUES ('1', %s::jsonb, 0)", [text])
    except psycopg.errors.CheckViolation:
        return
    behind = insert(connection, 2)
    claimed: list[int] = []
    for _ in range(3):
        claimed += claim(connection, worker).message_ids
        frozen.advance(0.2)
    assert behind in claimed


def test_a_payload_copied_from_a_table_where_it_lies_compressed_is_measured_by_its_real_size(
    connection: Connection, frozen: FrozenClock
) -> None:
    connection.execute("CREATE TABLE business AS SELECT jsonb_build_object('text', repeat('a', 5000000)) AS payload")
    with pytest.raises(psycopg.errors.CheckViolation, match="more than 262144"):
        connection.execute("INSERT INTO outbox.message (chat_id, payload) SELECT '1', payload FROM business")
