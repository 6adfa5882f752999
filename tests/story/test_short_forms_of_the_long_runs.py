"""The runs of `make load`, each in seconds: real worker processes, a strict simulator, no figure of speed."""

import pytest

from bench import stories
from bench.delivery import Verdict


def _holds(verdict: Verdict) -> None:
    assert verdict.refused == 0, verdict
    assert verdict.max_in_1s <= stories.RATE, verdict
    assert verdict.max_in_flight == 1, verdict
    assert not verdict.out_of_order, verdict
    assert verdict.missing == 0, verdict


@pytest.mark.parametrize("jitter_ms", ["0-0", "0-30"])
@pytest.mark.parametrize("number", [1, 2])
async def test_workers_deliver_all_in_order_without_a_429(db, number, jitter_ms):
    verdict = await stories.deliver(db.url, 100, jitter_ms, *[""] * number)

    _holds(verdict)
    assert verdict.repeated == 0, verdict


async def test_a_near_and_a_far_worker_share_the_limit_without_a_429(db):
    verdict = await stories.deliver(db.url, 100, "0-0", "/delay/20", "/delay/300")

    _holds(verdict)
    assert verdict.repeated == 0, verdict


async def test_a_backlog_starts_within_the_limit_and_with_its_critical_messages(db):
    verdict, in_first_second, last_critical = await stories.start_after_downtime(db.url, 90)

    _holds(verdict)
    assert in_first_second <= stories.RATE
    # The 10th and the 20th slot are reserved for other priorities.
    assert last_critical <= stories.CRITICAL + 2


async def test_a_restarted_worker_goes_on_without_a_429_a_loss_or_a_repetition(db):
    verdict = await stories.restart(db.url, 100)

    _holds(verdict)
    assert verdict.repeated == 0, verdict


async def test_the_lanes_of_a_killed_worker_go_on_once_its_lease_is_over(db):
    verdict, held, resumed_s = await stories.kill(db.url, 150, end_lease=True)

    _holds(verdict)
    assert held > 0, "the worker died with no lane in flight: the test saw nothing"
    assert verdict.repeated <= held
    assert resumed_s > 0


@pytest.mark.parametrize("number", [1, 2])
async def test_a_frozen_worker_wakes_without_a_burst(db, number):
    verdict = await stories.freeze(db.url, 120, number)

    _holds(verdict)
