"""What is done on a connection, said without a driver: a generator yields steps, is sent what each brought, returns.

    def steps() -> Steps[int]:
        rows = yield Query("SELECT CAST($1 AS text)", ["17"])
        return int(rows[0][0])

A driver offers a function that does one step; `drive` or `drive_async` runs the generator with it. Whatever a step
raises is raised in the generator, at its yield, so that it can clean up with further steps.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeAlias, TypeVar

S = TypeVar("S")
T = TypeVar("T")
Rows: TypeAlias = Sequence[Sequence[Any]]


@dataclass(frozen=True, slots=True)
class Query:
    """A statement with rows, which are sent back."""

    text: str
    """With $1, $2, … for the parameters, each once, in their order, and cast to text before all else."""

    parameters: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Listen:
    """From now on Pause ends early for this notification, where hearing it takes nothing from other readers."""

    channel: str
    payload: str


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait so long, or until that notification has come."""

    seconds: float


@dataclass(frozen=True, slots=True)
class StopListening:
    """Leave the connection as it was before Listen, even if that failed half-way."""


IdleStep: TypeAlias = Query | Listen | Pause | StopListening
Steps: TypeAlias = Generator[Query, Rows, T]
IdleSteps: TypeAlias = Generator[IdleStep, Rows, T]

IN_A_TRANSACTION: Final = (
    "this connection is inside a transaction. Commit first: a message is sent only after its transaction commits."
)


@dataclass(frozen=True, slots=True)
class _Done(Generic[T]):
    value: T


def drive(steps: Generator[S, Rows, T], do: Callable[[S], Rows]) -> T:
    """Do one step after the other; return what the generator returns."""
    step = _resume(steps, None)
    while not isinstance(step, _Done):
        try:
            rows = do(step)
        except BaseException as error:
            step = _resume(steps, error)
        else:
            step = _resume(steps, rows)
    return step.value


async def drive_async(steps: Generator[S, Rows, T], do: Callable[[S], Awaitable[Rows]]) -> T:
    """Do the same with a driver that is awaited; a cancellation too is raised in the generator."""
    step = _resume(steps, None)
    while not isinstance(step, _Done):
        try:
            rows = await do(step)
        except BaseException as error:
            step = _resume(steps, error)
        else:
            step = _resume(steps, rows)
    return step.value


def _resume(steps: Generator[S, Rows, T], brought: Rows | BaseException | None) -> S | _Done[T]:
    try:
        if brought is None:
            return next(steps)
        if isinstance(brought, BaseException):
            return steps.throw(brought)
        return steps.send(brought)
    except StopIteration as end:
        return _Done(end.value)
