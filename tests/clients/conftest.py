"""Simulators on a thread of their own, as somebody has them who tests a bot."""

from collections.abc import Iterator

import pytest

from outbox.simulator.config import Config
from outbox.simulator.thread import Telegram, run_in_thread


@pytest.fixture(scope="session")
def _without_limits() -> Iterator[Telegram]:
    with run_in_thread(Config(rate=0, chat_interval_s=0, group_limit=0, keep_parameters=True)) as telegram:
        yield telegram


@pytest.fixture(scope="session")
def _strict() -> Iterator[Telegram]:
    with run_in_thread() as telegram:
        yield telegram


@pytest.fixture
def unlimited(_without_limits: Telegram) -> Telegram:
    """A simulator without limits, as new."""
    _without_limits.reset()
    return _without_limits


@pytest.fixture
def strict(_strict: Telegram) -> Telegram:
    """A simulator with Telegram's limits, as new."""
    _strict.reset()
    return _strict
