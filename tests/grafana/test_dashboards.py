"""The dashboards: made as they are committed, readable by whoever imports them, without a metric that nobody shows."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from grafana.build.__main__ import documents
from tests.grafana.conftest import DASHBOARDS, ROOT, expressions, known_names, names, panels

TYPES = """import type { Dashboard } from "@grafana/schema";
// JSON has an enum's value, not the enum.
type Plain<T> = T extends string ? `${T}` : T extends (infer U)[] ? Plain<U>[]
  : T extends object ? { [K in keyof T]: Plain<T[K]> } : T;
"""


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.name)
def test_a_made_file_is_committed_as_it_is_made(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == documents()[path], "run: make grafana"


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_every_panel_says_what_it_shows_and_in_which_unit(path: Path) -> None:
    for panel in panels(path):
        assert panel["title"]
        assert panel["description"].endswith((".", "none.")), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_an_import_needs_no_edit(path: Path) -> None:
    dashboard = json.loads(path.read_text(encoding="utf-8"))
    assert dashboard["id"] is None
    assert dashboard["uid"].startswith("outbox-")
    assert dashboard["__inputs"] == []
    variables = {variable["name"] for variable in dashboard["templating"]["list"]}
    source = "datasource" if expressions(path) else "postgres"
    assert variables == {source, "bot"} | ({"job"} if expressions(path) else set())
    assert [link["tags"] for link in dashboard["links"]] == [["outbox"]]
    for panel in panels(path):
        assert panel["datasource"]["uid"] == f"${{{source}}}", panel["title"]
        letters = [target["refId"] for target in panel["targets"]]
        assert len(set(letters)) == len(letters), panel["title"]


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_no_panel_asks_for_a_metric_that_nobody_shows(path: Path) -> None:
    unknown = {name for expression in expressions(path) for name in names(expression)} - known_names()
    assert not unknown


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_every_metric_is_asked_of_the_chosen_database_only(path: Path) -> None:
    for expression in expressions(path):
        asked = re.findall(r"\b(?:outbox|process)_[a-z_]+", expression)
        assert asked
        assert expression.count('{job="$job"') == len(asked) + expression.count("up{"), expression


def test_no_two_dashboards_share_an_address() -> None:
    uids = [json.loads(path.read_text(encoding="utf-8"))["uid"] for path in DASHBOARDS]
    assert len(set(uids)) == len(DASHBOARDS) == 4


@pytest.fixture(scope="session")
def schema(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with Grafana's types and a compiler."""
    if shutil.which("npm") is None:
        pytest.skip("npm is missing: Debian has it in npm, other systems in Node.js")
    folder = tmp_path_factory.mktemp("schema")
    shutil.copy(ROOT / "tests" / "grafana" / "package.json", folder)
    subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund"], cwd=folder, check=True, timeout=300)
    return folder


def test_grafanas_own_types_know_every_key(schema: Path) -> None:
    for path in DASHBOARDS:
        dashboard = json.loads(path.read_text(encoding="utf-8"))
        for importers in ("__inputs", "__requires"):
            del dashboard[importers]
        text = f"{TYPES}export const dashboard: Plain<Dashboard> = {json.dumps(dashboard)};\n"
        (schema / f"{path.stem}.ts").write_text(text, encoding="utf-8")
    options = ["--strict", "--noEmit", "--skipLibCheck", "--module", "esnext", "--moduleResolution", "bundler"]
    files = [f"{path.stem}.ts" for path in DASHBOARDS]
    done = subprocess.run(
        ["npx", "tsc", *options, *files], cwd=schema, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.stdout == ""
    assert done.returncode == 0
