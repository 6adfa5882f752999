"""Fixtures for tests of the model in SQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from tests.conftest import Database
from tests.invariants.frozen_clock import FrozenClock
from tests.invariants.sessions import Session
from tests.invariants.stage import Stage

CHECKS = (
    "scenes",
    "scenes_wishes",
    "interleave",
    "interleave_cancel",
    "interleave_order",
    "endings",
    "follow",
    "machine",
)
# Their assertions should say what they found, as those of a test do.
pytest.register_assert_rewrite(*(f"tests.invariants.{name}" for name in CHECKS))


@pytest.fixture
def connection(db: Database) -> Iterator[psycopg.Connection[Any]]:
    """An autocommit connection to this test's database."""
    with db.connect() as opened:
        yield opened


@pytest.fixture
def frozen(db: Database) -> Iterator[FrozenClock]:
    """A clock that stands still until the test moves it."""
    with db.connect() as opened:
        yield FrozenClock(opened)


@pytest.fixture
def open_session(db: Database) -> Iterator[Callable[[], Session]]:
    """Opens sessions that run side by side."""
    opened: list[Session] = []

    def open_one() -> Session:
        opened.append(Session(db.url))
        return opened[-1]

    yield open_one
    for session in opened:
        session.close()


@pytest.fixture
def stage(connection: psycopg.Connection[Any], frozen: FrozenClock, open_session: Callable[[], Session]) -> Stage:
    """All three, for checks that the tests of mutations share."""
    return Stage(connection, frozen, open_session)
