"""`make load`'s runs of faults and deaths, each in seconds, and asserted only what holds on the slowest machine."""

import pytest

from bench.load.breaker import MOST_PROBES, live_through_an_outage, live_through_refusals
from bench.load.chaos import live_through_chaos
from bench.load.dead_letters import ATTEMPTS, die_and_come_back
from bench.load.eventual import deliver_through_faults
from bench.postgres import crashing_server

SEED = 1


@pytest.fixture
def quick(db):
    """A database whose breaker opens for seconds, not for a minute."""
    db.execute("UPDATE outbox.bot SET breaker_answers = 10, breaker_open_s = 1, breaker_open_max_s = 2")
    return db


async def test_every_message_arrives_through_all_faults_and_each_duplicate_is_explained(db):
    one = {"skip": 10, "count": 1}
    seen = await deliver_through_faults(db.url, 60, 8, outage_at_s=1, outage_s=2, silent=one, seed=SEED)

    assert seen.agreement.findings == (), f"seed {SEED}"
    assert seen.deliverable_sent == 1.0, f"seed {SEED}: {seen}"
    assert seen.agreement.duplicates_held == 0
    assert seen.calls_inside_a_wait == 0


async def test_killed_workers_and_a_crashing_database_lose_nothing_and_history_tells_the_truth():
    with crashing_server(durable=False) as server:
        seen = await live_through_chaos(server, seconds=4, outage_s=1, before=60, per_s=10, seed=SEED)

    assert seen.crashes == 2
    assert seen.kills >= 2
    assert seen.agreement.findings == (), f"seed {SEED}"
    assert seen.agreement.states == {"sent": seen.accepted}, f"seed {SEED}"


async def test_messages_whose_retries_ran_out_are_sent_after_one_bulk_retry(db):
    seen = await die_and_come_back(db.url, 10, 40, seed=SEED)

    assert (seen.died, seen.retried, seen.sent, seen.audited) == (10, 10, 10, 10)
    assert seen.attempts_kept == 10 * ATTEMPTS
    assert seen.agreement.findings == ()


async def test_the_breaker_opens_probes_and_closes_through_an_outage(quick):
    seen = await live_through_an_outage(quick.url, messages=90, after_s=1, outage_s=6, seed=SEED)

    turns = [state for state, _ in seen.changes]
    assert turns[:2] == ["open", "half_open"], turns
    assert turns[-1] == "closed", turns
    assert seen.probes <= MOST_PROBES, seen
    assert seen.sent == seen.accepted
    assert seen.agreement.findings == ()


async def test_a_burst_of_refusals_kills_no_message_and_suppresses_no_chat(quick):
    seen = await live_through_refusals(quick.url, seconds=6, seed=SEED)

    assert seen.refused >= 10
    assert (seen.dead, seen.suppressed) == (0, 0), seen
    assert seen.sent == seen.accepted
    assert seen.agreement.findings == ()
