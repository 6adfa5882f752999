"""sql/ and migrations/ are found in a checkout and in an installed wheel."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from outbox.database.sqlfiles import migrations_folder, sql_files

REPOSITORY = Path(__file__).parents[2]

LIST_FILES = """
import hashlib, outbox.database.sqlfiles as found
print(found.__file__)
print(found.migrations_folder())
for file in found.sql_files():
    print(file.name, hashlib.sha256(file.text.encode()).hexdigest())
"""


def test_files_come_in_path_order():
    names = [file.name for file in sql_files()]
    assert names == sorted(names)
    assert "sql/2_claim/claim.sql" in names


def test_the_checkouts_migrations_are_found():
    assert migrations_folder() == REPOSITORY / "migrations"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from this checkout and unpacked as pip would."""
    folder = tmp_path_factory.mktemp("wheel")
    build = "import sys; from hatchling.build import build_wheel; build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, str(folder)], cwd=REPOSITORY, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_the_wheel_brings_the_same_files_in_the_same_order(installed):
    def listed(folder: Path) -> list[str]:
        command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(folder)!r})\n{LIST_FILES}"]
        return subprocess.run(command, cwd="/", check=True, capture_output=True, text=True).stdout.splitlines()

    wheel, checkout = listed(installed), listed(REPOSITORY)
    assert wheel[0].startswith(str(installed)), "the checkout was imported instead"
    assert wheel[1] == str(installed / "outbox" / "_files" / "migrations")
    assert wheel[2:] == checkout[2:]
    assert {path.name for path in (installed / "outbox/_files/migrations/versions").glob("*.py")} == {
        path.name for path in (REPOSITORY / "migrations/versions").glob("*.py")
    }
