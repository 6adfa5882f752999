"""Retries run out, a person puts the dead letters back, and they are sent.

100 messages to chats for which the simulator answers 503, with three attempts each, beside 400 to healthy chats, so
that the breaker has no reason to open. When all of the hundred are dead the fault ends, and one call of outbox.retry
with a class and a tag puts them back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import psycopg

from bench.case import Case, Size
from bench.delivery import clear_faults, until_empty
from bench.figure import Figure
from bench.load.agreement import agreement_figures
from bench.load.producer import Producer, in_turn
from bench.server import Server, number
from bench.workers import workers
from outbox.operate.stage import simulator_process
from tests.chaos.checker import Agreement, check

DOOMED: Final = 100
HEALTHY: Final = 400
ATTEMPTS: Final = 3
WITHIN_S: Final = 120.0
CLASS: Final = "unavailable"
_DEAD: Final = "SELECT count(*) FROM outbox.dead_letter WHERE error_class = %s AND tag = 'doomed'"
_RETRY: Final = "SELECT outbox.retry(p_bot => 'default', p_class => %s, p_tag => 'doomed')"


@dataclass(frozen=True)
class DeadLetters:
    """What came of a run."""

    agreement: Agreement
    stats: dict[str, Any]
    died: int
    retried: int
    sent: int
    """Of the doomed, in the end, under the ids they always had."""
    attempts_kept: int
    """Attempts from before the retry that history still has."""
    audited: int


async def die_and_come_back(url: str, doomed: int, healthy: int, *, seed: int = 1) -> DeadLetters:
    """Let messages die, put them back, and let them be sent. Raises TimeoutError."""
    producer = Producer(url, seed)
    dying = producer.insert(doomed, in_turn(90_000, doomed), max_attempts=ATTEMPTS, tag="doomed")
    producer.insert(healthy, in_turn(10_000, healthy))
    producer.close()
    async with simulator_process("--seed", str(seed)) as telegram:
        fault = {"match": {"chats": [message.chat_id for message in dying]}, "effect": "status", "status": 503}
        await telegram.add_faults([fault])
        async with workers(url, telegram.url, telegram.url):
            with psycopg.connect(url, autocommit=True) as connection:
                await until_empty(connection, WITHIN_S)
                died = int(number(connection, _DEAD, [CLASS]))
                await clear_faults(telegram)
                retried = int(number(connection, _RETRY, [CLASS]))
                await until_empty(connection, WITHIN_S)
        with psycopg.connect(url, autocommit=True) as connection:
            ids = [message.id for message in dying]
            return DeadLetters(
                agreement=check(connection, await telegram.log(), producer.accepted, out_of_turn=ids),
                stats=await telegram.stats(),
                died=died,
                retried=retried,
                sent=int(
                    number(
                        connection, "SELECT count(*) FROM outbox.history WHERE id = ANY (%s) AND status = 'sent'", [ids]
                    )
                ),
                attempts_kept=int(
                    number(
                        connection,
                        "SELECT count(*) FROM outbox.attempt WHERE message_id = ANY (%s) AND outcome = 'retry'",
                        [ids],
                    )
                ),
                audited=int(number(connection, "SELECT sum(count) FROM outbox.audit WHERE what = 'retry'")),
            )


def _dead_letters(server: Server, size: Size) -> Iterator[Figure]:
    doomed = size.of(DOOMED, 10)
    with server.database("dead_letters") as url:
        seen = asyncio.run(die_and_come_back(url, doomed, size.of(HEALTHY, 40), seed=size.seed))
    yield Figure(f"dead of {doomed} after {ATTEMPTS} attempts", seen.died, "", at_least=doomed)
    yield Figure("put back by one outbox.retry", seen.retried, "", at_least=doomed)
    yield Figure("thereof sent", seen.sent, "", at_least=doomed)
    yield Figure("failed attempts that history keeps", seen.attempts_kept, "", at_least=doomed * ATTEMPTS)
    yield Figure("put back according to audit", seen.audited, "", at_least=doomed)
    yield Figure("429s", sum(seen.stats["rejected"].values()), "", at_most=0)
    yield from agreement_figures(seen.agreement)


CASES: Final[dict[str, Case]] = {"dead-letters": _dead_letters}
