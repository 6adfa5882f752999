"""Chaos: two workers, one of them killed every 2 s, a database that crashes twice, a Bot API that goes away.

900 messages wait, and a producer inserts 15 a second for the two minutes. SIGKILL hits one of the two workers at
random, and another takes its place at once. The database is stopped in immediate mode and started again at a third
and at two thirds of the run; in the middle the simulator closes its port for 10 s. Then the killing ends, the rest is
delivered, and the checker compares every message with what the simulator did.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import psycopg

from bench.case import Case, Size
from bench.delivery import until_empty
from bench.figure import Figure
from bench.load.agreement import agreement_figures
from bench.load.producer import Producer, in_turn
from bench.postgres import CrashingServer, crashing_server
from bench.server import Server
from bench.workers import kill, one_more, workers
from outbox.database.migrate import migrate
from outbox.operate.stage import simulator_process
from tests.chaos.checker import Agreement, check

SECONDS: Final = 120.0
EVERY_S: Final = 2.0
DOWN_S: Final = 0.5
OUTAGE_S: Final = 10.0
BEFORE: Final = 900
PER_S: Final = 15
CHATS: Final = 600
ENDS_WITHIN_S: Final = 300.0


@dataclass(frozen=True)
class Chaos:
    """What came of a run."""

    agreement: Agreement
    accepted: int
    kills: int
    crashes: int
    in_doubt: int
    """Inserts that the crashing database had committed without saying so."""
    stats: dict[str, Any]
    drained_s: float
    """From the last blow until nothing was left."""


async def live_through_chaos(
    server: CrashingServer,
    *,
    seconds: float = SECONDS,
    outage_s: float = OUTAGE_S,
    before: int = BEFORE,
    per_s: int = PER_S,
    seed: int = 1,
) -> Chaos:
    """Kill, crash and cut off for `seconds`, then let everything arrive. Raises TimeoutError."""
    migrate(server.url)
    producer = Producer(server.url, seed)
    chat = in_turn(10_000, CHATS)
    producer.insert(before, chat)
    rng = random.Random(f"chaos {seed}")
    # Between executing and answering there is time to die.
    options = ("--jitter-ms", "0-30", "--answer-ms", "100", "--seed", str(seed))
    async with simulator_process(*options) as telegram:
        outage = {"from_s": seconds / 2, "until_s": seconds / 2 + outage_s}
        await telegram.add_faults([{"match": outage, "effect": "outage", "kind": "refuse"}])
        async with workers(server.url, telegram.url, telegram.url) as running:
            kills = crashes = 0
            async with _inserting(producer, chat, per_s):
                started_s = time.monotonic()
                while time.monotonic() - started_s < seconds or crashes < 2:
                    await asyncio.sleep(EVERY_S)
                    victim = rng.randrange(2)
                    await kill(running[victim])
                    kills += 1
                    running[victim] = await one_more(server.url, telegram.url, f"w{victim + 1}")
                    if crashes < 2 and time.monotonic() - started_s > (crashes + 1) * seconds / 3:
                        server.crash()
                        crashes += 1
                        await asyncio.sleep(DOWN_S)
                        server.start()
            ended_s = time.monotonic()
            in_doubt = producer.resolve_doubts()
            with psycopg.connect(server.url, autocommit=True) as connection:
                await until_empty(connection, ENDS_WITHIN_S)
            drained_s = time.monotonic() - ended_s
        with psycopg.connect(server.url, autocommit=True) as connection:
            agreement = check(connection, await telegram.log(), producer.accepted, waited=False)
        return Chaos(agreement, len(producer.accepted), kills, crashes, in_doubt, await telegram.stats(), drained_s)


@contextlib.asynccontextmanager
async def _inserting(producer: Producer, chat: Callable[[], int], per_s: int) -> AsyncIterator[None]:
    """Insert a second's worth every second while the block runs."""

    async def insert_for_ever() -> None:
        while True:
            producer.insert(per_s, chat)
            await asyncio.sleep(1)

    inserting = asyncio.create_task(insert_for_ever())
    try:
        yield
    finally:
        inserting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await inserting
        producer.close()


def _chaos(server: Server, size: Size) -> Iterator[Figure]:
    # A server of its own: crashing the bench's would take other databases with it.
    with crashing_server(durable=True) as crashing:
        seen = asyncio.run(
            live_through_chaos(crashing, seconds=size.span_s(SECONDS, 12), before=size.of(BEFORE, 60), seed=size.seed)
        )
    yield Figure("workers killed", seen.kills, "")
    yield Figure("crashes of the database", seen.crashes, "", at_least=2)
    yield Figure("messages accepted", seen.accepted, "")
    yield Figure("thereof committed by a crash that did not answer", seen.in_doubt, "")
    yield Figure("messages that are not sent", seen.accepted - seen.agreement.states["sent"], "", at_most=0)
    yield Figure("attempts with an uncertain outcome", seen.agreement.uncertain, "")
    yield Figure("duplicates", seen.agreement.duplicates, "")
    yield Figure("429s", sum(seen.stats["rejected"].values()), "", at_most=0)
    yield Figure("most in 1 s", seen.stats["max_in_1s"], "", at_most=30)
    yield Figure("from the last kill until the last message", seen.drained_s, "s")
    yield from agreement_figures(seen.agreement)


CASES: Final[dict[str, Case]] = {"chaos": _chaos}
