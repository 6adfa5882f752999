"""A gate in a function's way: whoever comes there waits until the test opens it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future

from tests.invariants.sessions import Answer, Session
from tests.invariants.stage import Stage

KEY = 4711


class Gate:
    """Closed from the start; made by before() or within()."""

    def __init__(self, stage: Stage) -> None:
        self._keeper = stage.open_session()
        self._keeper.connection.execute("SELECT pg_advisory_lock(%s)", [KEY])

    def holds(self, session: Session, call: Callable[..., Answer], *arguments: object) -> Future[Answer]:
        """Start the call, and come back once it stands before the gate."""
        running = session.start(call, *arguments)
        assert session.waits(running), "the call did not come to the gate"
        return running

    def open(self) -> None:
        self._keeper.connection.execute("SELECT pg_advisory_unlock(%s)", [KEY])


def before(stage: Stage, function: str, text: str) -> Gate:
    """Put a gate before this text of the function, with which a statement begins."""
    return _put(stage, function, text, f"PERFORM pg_advisory_xact_lock_shared({KEY});\n        {text}")


def within(stage: Stage, function: str, text: str) -> Gate:
    """Put a gate into a statement: after this text of the function, a condition of its WHERE."""
    return _put(stage, function, text, f"{text} AND pg_advisory_xact_lock_shared({KEY}) IS NOT NULL")


def _put(stage: Stage, function: str, old: str, new: str) -> Gate:
    # As the database has it, and not as the file: a mutation may have been there before.
    row = stage.connection.execute("SELECT pg_get_functiondef(%s::regproc)", [function]).fetchone()
    assert row is not None
    assert row[0].count(old) == 1, f"{function} holds {row[0].count(old)} times: {old!r}. Mend the gate."
    stage.connection.execute(row[0].replace(old, new))
    return Gate(stage)
