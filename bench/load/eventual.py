"""Eventual delivery: everything goes wrong at once, and every message arrives all the same.

5,000 messages to 1,000 chats and 500 with on_uncertain = hold, two workers; bench/faults.py says what goes wrong,
with an outage of 20 s after a minute. Beside it, at the same time, bench/naive.py sends the same 5,000 to a simulator
of its own with the same faults from the same seed. The checker compares every message.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import psycopg

from bench.case import Case, Size
from bench.delivery import faults, until_empty
from bench.faults import eventual_faults
from bench.figure import Figure
from bench.load.agreement import agreement_figures
from bench.load.producer import Producer, in_turn
from bench.naive import NaiveOutcome, run_naive
from bench.server import Server
from bench.workers import workers
from outbox.operate.stage import Simulator, simulator_process
from tests.chaos.checker import Agreement, check

MESSAGES: Final = 5_000
HELD: Final = 500
OUTAGE_S: Final = 20.0
OUTAGE_AT_S: Final = 60.0
WITHIN_S: Final = 480.0


@dataclass(frozen=True)
class Eventual:
    """What came of a run."""

    agreement: Agreement
    took_s: float
    deliverable_sent: float
    """The share of the messages with on_uncertain = retry that history calls sent."""
    held_in_doubt: int
    calls_inside_a_wait: int
    naive: NaiveOutcome | None


async def deliver_through_faults(
    url: str,
    messages: int,
    held: int,
    *,
    outage_at_s: float,
    outage_s: float,
    silent: dict[str, object] | None = None,
    seed: int = 1,
    within_s: float = WITHIN_S,
    with_naive: bool = False,
) -> Eventual:
    """Deliver a backlog through every fault at once. Raises TimeoutError."""
    producer = Producer(url, seed)
    retried = producer.insert(messages, in_turn(10_000, max(1, messages // 5)))
    producer.insert(held, in_turn(50_000, max(1, held // 5)), on_uncertain="hold")
    producer.close()
    rules = eventual_faults(outage_at_s, outage_s, silent)
    options = ("--jitter-ms", "0-30", "--seed", str(seed))
    async with (
        simulator_process(*options) as telegram,
        simulator_process(*options) as other,
        asyncio.TaskGroup() as beside,
    ):
        await telegram.add_faults(rules)
        texts = [(message.chat_id, message.text) for message in retried]
        naive = beside.create_task(_naive(other, rules, texts)) if with_naive else None
        with psycopg.connect(url, autocommit=True) as connection:
            async with workers(url, telegram.url, telegram.url):
                took_s = await until_empty(connection, within_s)
            agreement = check(connection, await telegram.log(), producer.accepted)
            [(sent, in_doubt)] = connection.execute(
                """SELECT count(*) FILTER (WHERE h.status = 'sent' AND h.id = ANY (%s)),
                          count(*) FILTER (WHERE h.status = 'uncertain') FROM outbox.history h""",
                [[message.id for message in retried]],
            ).fetchall()
        inside = sum(rule.get("inside", 0) for rule in await faults(telegram))
        return Eventual(agreement, took_s, sent / len(retried), in_doubt, inside, await naive if naive else None)


async def _naive(other: Simulator, rules: list[dict[str, object]], messages: list[tuple[str, str]]) -> NaiveOutcome:
    await other.add_faults(rules)
    return await run_naive(other, messages)


def _eventual(server: Server, size: Size) -> Iterator[Figure]:
    messages = size.of(MESSAGES, 200)
    with server.database("eventual") as url:
        seen = asyncio.run(
            deliver_through_faults(
                url,
                messages,
                size.of(HELD, 20),
                outage_at_s=size.span_s(OUTAGE_AT_S, 3),
                outage_s=OUTAGE_S,
                seed=size.seed,
                with_naive=True,
            )
        )
    yield Figure(f"{messages:,} deliverable messages that are sent", seen.deliverable_sent, "share", at_least=1.0)
    yield Figure("until the last of them", seen.took_s, "s", at_most=WITHIN_S)
    yield Figure("attempts with an uncertain outcome", seen.agreement.uncertain, "")
    yield Figure("duplicates", seen.agreement.duplicates, "")
    yield Figure("duplicates of messages with hold", seen.agreement.duplicates_held, "", at_most=0)
    yield Figure("messages with hold that wait for a person", seen.held_in_doubt, "")
    yield Figure("calls inside an announced wait", seen.calls_inside_a_wait, "", at_most=0)
    yield from agreement_figures(seen.agreement)
    assert seen.naive is not None
    yield Figure("a naive loop beside it: delivered", seen.naive.delivered_share, "share")
    yield Figure("a naive loop beside it: duplicates", seen.naive.duplicates, "")


CASES: Final[dict[str, Case]] = {"eventual": _eventual}
