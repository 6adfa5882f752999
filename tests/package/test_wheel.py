"""What the wheel and the sdist hold."""

from __future__ import annotations

import re
import sys
import tarfile
import zipfile
from pathlib import Path

from tests.package.building import run_outside
from tests.package.containerfile import ROOT


def files_below(folder: str) -> set[str]:
    return {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def contents(wheel: Path) -> dict[str, int]:
    """Return each file's checksum."""
    with zipfile.ZipFile(wheel) as archive:
        return {entry.filename: entry.CRC for entry in archive.infolist()}


def test_the_wheel_holds_the_package_its_sql_and_migrations_and_nothing_else(installed):
    names = set(contents(installed.wheel))
    info = {name for name in names if ".dist-info/" in name}
    assert names - info == files_below("outbox") | {
        f"outbox/_files/{name}" for name in files_below("sql") | files_below("migrations")
    }
    assert {name.split("/", 1)[1] for name in info} == {
        "METADATA",
        "WHEEL",
        "RECORD",
        "entry_points.txt",
        "licenses/LICENSE",
    }
    assert "outbox/py.typed" in names


def test_the_sdist_builds_the_very_same_wheel(installed, tmp_path):
    pip_wheel = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    run_outside([*pip_wheel, "--wheel-dir", str(tmp_path), str(installed.sdist)], tmp_path)
    assert contents(tmp_path / installed.wheel.name) == contents(installed.wheel)


def test_the_sdist_takes_nothing_along_that_only_lies_in_the_checkout(installed):
    with tarfile.open(installed.sdist) as archive:
        tops = {name.split("/")[1] for name in archive.getnames()}
    assert tops == {
        ".gitignore",
        "CHANGELOG.md",
        "LICENSE",
        "PKG-INFO",
        "README.md",
        "migrations",
        "outbox",
        "pyproject.toml",
        "sql",
    }


def test_each_extra_adds_something_and_each_that_is_named_exists(installed):
    (outbox,) = [found for found in installed.distributions if found.name == "outbox"]
    extras = set(outbox.metadata.get_all("Provides-Extra") or ())
    adds = {extra for extra in extras for line in outbox.requires or () if f"extra == '{extra}'" in line}
    assert adds == extras
    texts = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("outbox/**/*.py"), ROOT / "Makefile"]
    named = {
        extra
        for path in texts
        for group in re.findall(r"(?:outbox|'\.|\.)\[([a-z, ]+)\]'", path.read_text())
        for extra in group.replace(" ", "").split(",")
    }
    assert named
    assert named <= extras
