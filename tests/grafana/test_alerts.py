"""The alert rules: sound, tested both ways, explained in the runbook, and asked of the database alone too."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from outbox.observe.thresholds import read_thresholds
from tests.grafana.conftest import ROOT, known_names, names

RULES = ROOT / "grafana" / "alerts" / "outbox.yml"
TESTS = sorted((ROOT / "grafana" / "alert_tests").glob("*.yml"))


def rules() -> list[dict[str, Any]]:
    return list(yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"][0]["rules"])


def values() -> dict[str, Any]:
    return read_thresholds()


@pytest.fixture
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is missing: Debian has it in prometheus")
    return found


@pytest.mark.parametrize(
    "arguments",
    [("check", "rules", str(RULES)), *(("test", "rules", str(path)) for path in TESTS)],
    ids=lambda arguments: f"{arguments[0]} {Path(arguments[2]).name}",
)
def test_promtool_finds_nothing(promtool: str, arguments: tuple[str, ...]) -> None:
    done = subprocess.run([promtool, *arguments], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_has_a_test_that_fires_and_one_that_must_not() -> None:
    fires: dict[str, set[bool]] = {}
    for test in (test for path in TESTS for test in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]):
        for one in test["alert_rule_test"]:
            fires.setdefault(one["alertname"], set()).add(bool(one["exp_alerts"]))
    assert fires == {rule["alert"]: {True, False} for rule in rules()}


def test_each_alert_has_its_thresholds_and_all_thresholds_an_alert() -> None:
    assert {f"Outbox{name}" for name in values() if name != "general"} == {rule["alert"] for rule in rules()}


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_says_what_is_wrong_and_where_to_read_on(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("critical", "warning")
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    headings = [
        line.removeprefix("## ").strip().lower()
        for line in (ROOT / page).read_text(encoding="utf-8").splitlines()
        if line.startswith("## ")
    ]
    assert anchor in headings
    assert names(rule["expr"]) <= known_names()


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_keeps_databases_apart(rule: dict[str, Any]) -> None:
    aggregations = re.findall(r"\b(?:sum|max|min|group)\b(?: by \(job\b)?", rule["expr"])
    assert aggregations
    assert [one for one in aggregations if not one.endswith("by (job")] == []


def runbook() -> dict[str, str]:
    """Each alert's section of the runbook."""
    text = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
    return {part.split("\n", 1)[0].strip(): part for part in text.split("\n## ")[1:]}


@pytest.mark.parametrize("name", [name for name in values() if name != "general"])
def test_the_runbook_says_means_harm_look_and_do(name: str) -> None:
    section = runbook()[name]
    assert [word for word in ("*Means*", "*Harm*", "*Look*", "*Do*") if word not in section] == []
