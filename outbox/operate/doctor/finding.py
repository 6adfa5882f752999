"""What a check says."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple, get_args

Verdict = Literal["ok", "warn", "fail"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)  # from good to bad


class Finding(NamedTuple):
    """One line of the doctor."""

    name: str
    """the check"""
    verdict: Verdict
    finding: str
    remedy: str = ""
    """a command or SQL to type; empty where nothing is to be done"""


def failure(name: str, text: str) -> Finding:
    """Return a finding of an error's line, whose last sentence says what to do."""
    what, _, do = text.removesuffix(".").rpartition(". ")
    return Finding(name, "fail", what or do, do if what else "")


def worst(findings: Iterable[Finding]) -> Verdict:
    """Return the worst verdict; ok for none."""
    return max((finding.verdict for finding in findings), key=VERDICTS.index, default="ok")
