"""Where sql/ and migrations/ are: beside the package in a checkout, in outbox/_files in a wheel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class SqlFile:
    """One file of sql/: its name as in error texts (`sql/2_claim/claim.sql`) and its text."""

    name: str
    text: str


def sql_files() -> Iterator[SqlFile]:
    """Yield the files of sql/ in path order, which is the order to apply them in."""
    root = _folder("sql")
    for path in sorted(root.rglob("*.sql"), key=lambda path: path.relative_to(root).parts):
        yield SqlFile("/".join(("sql", *path.relative_to(root).parts)), path.read_text(encoding="utf-8"))


def migrations_folder() -> Path:
    """Return the folder with env.py and versions/."""
    return _folder("migrations")


def _folder(name: str) -> Path:
    for parent in (_PACKAGE / "_files", _PACKAGE.parent):
        if (parent / name).is_dir():
            return parent / name
    raise FileNotFoundError(f"{name}/ is neither in {_PACKAGE / '_files'} nor in {_PACKAGE.parent}: reinstall outbox")
