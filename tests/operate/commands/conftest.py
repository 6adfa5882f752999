"""The command line in this process: fast, and with the database of the test."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from outbox.operate.cli import main


@dataclass(frozen=True)
class Result:
    """What a command left behind."""

    code: int
    out: str
    err: str


Outbox = Callable[..., Result]


class _Terminal(io.StringIO):
    """A keyboard."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def outbox(db: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Outbox]:
    """Run `outbox ARGUMENTS` on this test's database, with these variables.

    `input` stands on its stdin; `typed` does too, and stdin is a terminal then.
    """
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}
    # A shell starts what runs in its background with SIGINT ignored, and Python leaves it so.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in os.environ:
        if name.startswith("OUTBOX_"):
            monkeypatch.delenv(name)

    def run(*arguments: str, input: str | bytes = "", typed: str | None = None, **environment: str) -> Result:
        with monkeypatch.context() as patch:
            for name, value in ({"OUTBOX_DATABASE_URL": db.url} | environment).items():
                patch.setenv(name, value)
            if typed is not None:
                patch.setattr(sys, "stdin", _Terminal(typed))
            else:
                raw = input if isinstance(input, bytes) else input.encode()
                patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw)))
            capsys.readouterr()
            with pytest.raises(SystemExit) as ended:
                main([*arguments])
        said = capsys.readouterr()
        return Result(int(ended.value.code or 0), said.out, said.err)

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)
