"""Workers of 0009 go on while the schema is 0010's: what they ask claim for is there, by its old names."""

from __future__ import annotations

from tests.invariants.calls import Connection, insert, register

# outbox/deliver/claim.py of 0009, word for word.
CLAIM_OF_0009 = """
SELECT bot, chat_id, message_id, attempt, method, payload::text, priority, on_uncertain, correlation_id, slot,
       extract(epoch FROM slot_at)::float8, extract(epoch FROM created_at)::float8,
       extract(epoch FROM clock_at)::float8, ask_again_s, settled
  FROM outbox.claim(%s::bigint, %s::text[], %s::int, %s::jsonb)"""


def test_a_worker_of_0009_claims(connection: Connection) -> None:
    message_id = insert(connection, 1)
    lane, closing = connection.execute(CLAIM_OF_0009, [register(connection), ["default"], 5, "[]"]).fetchall()
    assert lane[2] == message_id
    assert closing[2] is None
