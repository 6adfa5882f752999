"""grafana/provisioning, prometheus.yml and the compose file: what they name is there."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
import yaml

from tests.grafana.conftest import DASHBOARDS, ROOT, panels

GRAFANA = ROOT / "grafana"
COMPOSE = yaml.safe_load((GRAFANA / "compose.yaml").read_text(encoding="utf-8"))


def test_a_source_of_each_kind_that_panels_ask_is_provisioned() -> None:
    file = yaml.safe_load((GRAFANA / "provisioning" / "datasources" / "outbox.yml").read_text(encoding="utf-8"))
    asked = {panel["datasource"]["type"] for path in DASHBOARDS for panel in panels(path)}
    assert asked == {source["type"] for source in file["datasources"]}


def test_every_variable_of_the_sources_is_given_by_the_compose_file() -> None:
    text = (GRAFANA / "provisioning" / "datasources" / "outbox.yml").read_text(encoding="utf-8")
    wanted = set(re.findall(r"\$\{(OUTBOX_\w+)\}", text))
    assert wanted <= COMPOSE["services"]["grafana"]["environment"].keys()


def test_the_folders_it_mounts_are_there_and_the_dashboards_lie_where_they_are_looked_for() -> None:
    mounts = {}
    for service in COMPOSE["services"].values():
        for volume in service["volumes"]:
            source, target, *_ = volume.split(":")
            mounts[target] = source
            assert source in COMPOSE["volumes"] or (GRAFANA / source).exists(), volume
    provider = yaml.safe_load((GRAFANA / "provisioning" / "dashboards" / "outbox.yml").read_text(encoding="utf-8"))
    assert mounts[provider["providers"][0]["options"]["path"]] == "./dashboards"


def test_a_parser_of_the_compose_specification_takes_it() -> None:
    compose_spec = pytest.importorskip("compose_spec", reason="compose-spec has no wheel for this kind of machine")
    options = compose_spec.PyOptions()
    options.apply_merge = True
    options.from_yaml((GRAFANA / "compose.yaml").read_text(encoding="utf-8")).validate()


def test_promtool_takes_the_configuration() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is missing: Debian has it in prometheus")
    done = subprocess.run(
        [promtool, "check", "config", "prometheus.yml"],
        cwd=GRAFANA,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
