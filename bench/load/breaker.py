"""The breaker through an outage, and the brake through a burst of refusals that Telegram did not mean.

`breaker`: two workers deliver a backlog; after 10 s the simulator resets every connection for 60 s. Counted are the
calls that still came once the breaker had been open for a second (what was under way when it opened is not a probe),
its turns as outbox.breaker_change tells them, and how long after the outage it closed.

`refusals`: two messages each for 50 chats, which answer "not enough rights" for 30 s, as all of Telegram did on
2023-10-31. No message may die of it and no chat be suppressed, and all must be sent afterwards.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import psycopg

from bench.case import Case, Size
from bench.delivery import clear_faults, until_accepted, until_broken, until_empty
from bench.figure import Figure
from bench.load.agreement import agreement_figures
from bench.load.producer import Producer, in_turn
from bench.server import Server, number, rows
from bench.workers import workers
from outbox.operate.stage import simulator_process
from tests.chaos.checker import Agreement, check

OUTAGE_AFTER_S: Final = 10.0
OUTAGE_S: Final = 60.0
UNDER_WAY_S: Final = 1.0
MOST_PROBES: Final = 20
WITHIN_S: Final = 180.0
CHATS: Final = 600
MESSAGES: Final = 900
REFUSED_CHATS: Final = 50
REFUSED_S: Final = 30.0
ENOUGH_REFUSED: Final = 10  # chats: from there the brake looks (DESIGN section 5)
_SUPPRESSED: Final = "SELECT count(*) FROM outbox.chat WHERE coalesce(suppressed_until, suppressed_at) IS NOT NULL"
_CHANGES: Final = "SELECT breaker, extract(epoch FROM at)::float8 FROM outbox.breaker_change ORDER BY id"


@dataclass(frozen=True)
class Breaker:
    """What came of a run. Times are unix seconds."""

    agreement: Agreement
    changes: Sequence[tuple[str, float]]
    probes: int
    calls_before: int
    """Calls of the outage until the breaker had been open for a second."""
    closed_after_s: float
    """Since the end of the outage."""
    sent: int
    accepted: int


async def live_through_an_outage(
    url: str, *, messages: int = MESSAGES, after_s: float = OUTAGE_AFTER_S, outage_s: float = OUTAGE_S, seed: int = 1
) -> Breaker:
    """Deliver a backlog through an outage in its middle. Raises TimeoutError."""
    producer = Producer(url, seed)
    producer.insert(messages, in_turn(10_000, CHATS))
    producer.close()
    async with simulator_process("--seed", str(seed)) as telegram:
        async with workers(url, telegram.url, telegram.url):
            await until_accepted(telegram, 1)
            await asyncio.sleep(after_s)
            began_at = time.time()
            await telegram.add_faults([{"match": {"until_s": outage_s}, "effect": "outage", "kind": "reset"}])
            with psycopg.connect(url, autocommit=True) as connection:
                await until_empty(connection, outage_s + WITHIN_S)
        log = await telegram.log()
        with psycopg.connect(url, autocommit=True) as connection:
            changes = [(str(state), float(at)) for state, at in rows(connection, _CHANGES)]
            agreement = check(connection, log, producer.accepted)
        opened_at = next((at for state, at in changes if state == "open"), began_at + outage_s)
        closed_at = [at for state, at in changes if state == "closed" and at > began_at]
        hit = [call["arrived_at"] for call in log if "outage" in (call["broken_by"] or "") and call["cost"]]
        return Breaker(
            agreement=agreement,
            changes=changes,
            probes=sum(at > opened_at + UNDER_WAY_S for at in hit),
            calls_before=sum(at <= opened_at + UNDER_WAY_S for at in hit),
            closed_after_s=closed_at[-1] - began_at - outage_s if closed_at else float("nan"),
            sent=agreement.states["sent"],
            accepted=len(producer.accepted),
        )


def _breaker(server: Server, size: Size) -> Iterator[Figure]:
    with server.database("breaker") as url:
        seen = asyncio.run(
            live_through_an_outage(
                url, messages=size.of(MESSAGES, 600), outage_s=size.span_s(OUTAGE_S, 20), seed=size.seed
            )
        )
    turns = [state for state, _ in seen.changes]
    for state in ("open", "half_open", "closed"):
        yield Figure(f"times that the breaker became {state.replace('_', '-')}", turns.count(state), "", at_least=1)
    yield Figure("calls of the outage before it was open", seen.calls_before, "")
    yield Figure("probes during the outage", seen.probes, "", at_most=MOST_PROBES)
    yield Figure("closed so long after the outage", seen.closed_after_s, "s")
    yield Figure("messages that are not sent", seen.accepted - seen.sent, "", at_most=0)
    yield from agreement_figures(seen.agreement)


@dataclass(frozen=True)
class Refusals:
    """What came of a run."""

    agreement: Agreement
    turns: Sequence[str]
    """Of the breaker."""
    refused: int
    dead: int
    suppressed: int
    sent: int
    accepted: int
    sent_after_s: float
    """From the end of the burst until the last message."""


async def live_through_refusals(
    url: str, *, chats: int = REFUSED_CHATS, seconds: float = REFUSED_S, seed: int = 1
) -> Refusals:
    """Have every chat refuse for a while, then all sent. Raises TimeoutError."""
    producer = Producer(url, seed)
    producer.insert(2 * chats, in_turn(10_000, chats))
    producer.close()
    async with simulator_process("--seed", str(seed)) as telegram:
        ids = [str(10_000 + place) for place in range(chats)]
        await telegram.add_faults([{"match": {"chats": ids}, "effect": "chat", "state": "no_rights"}])
        async with workers(url, telegram.url, telegram.url):
            await until_broken(telegram, ENOUGH_REFUSED)
            await asyncio.sleep(seconds)
            await clear_faults(telegram)
            with psycopg.connect(url, autocommit=True) as connection:
                sent_after_s = await until_empty(connection, WITHIN_S)
        log = await telegram.log()
        with psycopg.connect(url, autocommit=True) as connection:
            agreement = check(connection, log, producer.accepted)
            return Refusals(
                agreement=agreement,
                turns=[str(state) for state, _ in rows(connection, _CHANGES)],
                refused=sum(call["verdict"] == "error" for call in log),
                dead=agreement.states["dead"],
                suppressed=int(number(connection, _SUPPRESSED)),
                sent=agreement.states["sent"],
                accepted=len(producer.accepted),
                sent_after_s=sent_after_s,
            )


def _refusals(server: Server, size: Size) -> Iterator[Figure]:
    with server.database("refusals") as url:
        # Not fewer chats: the burst is about many of them.
        seen = asyncio.run(live_through_refusals(url, seconds=size.span_s(REFUSED_S, 15), seed=size.seed))
    yield Figure("calls refused for want of rights", seen.refused, "", at_least=ENOUGH_REFUSED)
    yield Figure("times that the brake opened", seen.turns.count("open"), "", at_least=1)
    yield Figure("messages that died", seen.dead, "", at_most=0)
    yield Figure("chats suppressed", seen.suppressed, "", at_most=0)
    yield Figure("messages that are not sent", seen.accepted - seen.sent, "", at_most=0)
    yield Figure("from the end of the burst until all were sent", seen.sent_after_s, "s")
    yield from agreement_figures(seen.agreement)


CASES: Final[dict[str, Case]] = {"breaker": _breaker, "refusals": _refusals}
