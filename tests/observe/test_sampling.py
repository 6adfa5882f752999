"""Log lines of outcomes: all of them while there are few, some of each kind when there are many, none forgotten."""

from __future__ import annotations

from outbox.observe.sampling import Sampler


class Time:
    def __init__(self) -> None:
        self.at_s = 0.0

    def __call__(self) -> float:
        return self.at_s


def test_few_lines_are_all_written() -> None:
    now = Time()
    sampler = Sampler(per_s=10, burst=20, now=now)
    for _ in range(100):
        assert sampler.take("sent") == 0
        now.at_s += 0.1


def test_of_many_lines_a_few_a_second_are_written_and_the_next_says_how_many_were_not() -> None:
    now = Time()
    sampler = Sampler(per_s=10, burst=20, now=now)
    taken = []
    for _ in range(1000):
        taken.append(sampler.take("sent"))
        now.at_s += 0.01
    written = [left_out for left_out in taken if left_out is not None]
    assert 110 <= len(written) <= 120
    now.at_s += 1
    last = sampler.take("sent")
    assert last is not None
    assert sum(written) + len(written) + last == 1000


def test_a_storm_of_one_kind_hides_no_other() -> None:
    sampler = Sampler(per_s=10, burst=20, now=Time())
    for _ in range(100):
        sampler.take("sent")
    assert sampler.take("dead letter") == 0
