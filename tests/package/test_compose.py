"""compose.yaml: read by a strict parser and a linter, and held against what outbox and the image know."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from psycopg.conninfo import conninfo_to_dict

from outbox.deliver.worker import GRACE_S
from outbox.operate.cli import outbox
from outbox.settings import Settings
from outbox.simulator import run as simulator
from tests.package.containerfile import PATH, ROOT, variables

FILE = ROOT / "compose.yaml"
COMPOSE = yaml.safe_load(FILE.read_text())
SERVICES = COMPOSE["services"]
OURS = [name for name, service in SERVICES.items() if "build" in service]


def test_a_parser_of_the_compose_specification_takes_it():
    compose_spec = pytest.importorskip("compose_spec", reason="compose-spec has no wheel for this kind of machine")
    options = compose_spec.PyOptions()
    options.apply_merge = True
    options.from_yaml(FILE.read_text()).validate()


def test_compose_lint_finds_nothing_but_what_its_configuration_explains():
    command = [Path(sys.executable).with_name("compose-lint"), "--quiet", "--strict-config", "--fail-on", "low"]
    command += ["--no-env", "--no-merge-overrides"]  # a developer's own files beside it are not the project's
    command += ["--config", Path(__file__).with_name("compose-lint.yml"), FILE]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_service_and_volume_it_names_is_declared():
    for service in SERVICES.values():
        assert service.get("depends_on", {}).keys() <= SERVICES.keys()
        sources = {volume.split(":")[0] for volume in service.get("volumes", ())}
        assert sources <= COMPOSE["volumes"].keys()


@pytest.mark.parametrize("name", OURS)
def test_its_services_run_commands_with_options_that_exist(name):
    command, *options = SERVICES[name]["command"]
    if command == "simulator":
        parsed = simulator._parser(command).parse_args(options)
        assert SERVICES[name]["ports"] == [f"127.0.0.1:{parsed.port}:{parsed.port}"]
    else:
        assert outbox.get_command(None, command).make_context(command, options)


@pytest.mark.parametrize("name", OURS)
def test_its_services_are_built_from_the_containerfile_and_may_write_to_volumes_only(name):
    service = SERVICES[name]
    assert (ROOT / service["build"]["context"] / service["build"]["dockerfile"]).samefile(PATH)
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]


def test_every_outbox_variable_is_a_setting():
    names = {name for name in SERVICES["outbox"]["environment"] if name.startswith("OUTBOX_")}
    assert {name.removeprefix("OUTBOX_").lower() for name in names} <= Settings.model_fields.keys()


def test_the_tokens_are_a_secret_and_the_spool_is_a_volume():
    service = SERVICES["outbox"]
    (secret,) = service["secrets"]
    assert service["environment"]["OUTBOX_TOKENS_FILE"] == f"/run/secrets/{secret}"
    assert secret in COMPOSE["secrets"]
    assert service["volumes"] == [f"spool:{variables()['OUTBOX_DATA_DIR']}"]


def test_outbox_waits_for_the_database_that_its_url_names():
    service = SERVICES["outbox"]
    url = conninfo_to_dict(service["environment"]["OUTBOX_DATABASE_URL"])
    database = SERVICES[url["host"]]
    assert service["depends_on"][url["host"]] == {"condition": "service_healthy"}
    assert (url["user"], url["dbname"]) == (
        database["environment"]["POSTGRES_USER"],
        database["environment"]["POSTGRES_DB"],
    )
    assert database["healthcheck"]["test"][2:] == ["--host=127.0.0.1", "--username=outbox", "--dbname=outbox"]


def test_a_stop_leaves_time_for_requests_in_flight_and_for_their_results():
    grace = SERVICES["outbox"]["stop_grace_period"]
    assert grace.endswith("s")
    assert float(grace[:-1]) > 2 * GRACE_S
