"""The Containerfile: conftest.py runs its first stage, hadolint reads it all, and these hold what neither sees."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from outbox.operate.cli import outbox
from outbox.settings import Settings
from tests.package.containerfile import PATH, ROOT, arguments, copied_from_checkout, stages, variables

BUILD, FINAL = stages()


def test_hadolint_has_nothing_to_say():
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, "--no-color", PATH], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


def test_the_build_context_is_exactly_what_is_copied():
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    allowed = {line[1:] for line in lines if line.startswith("!")}
    assert lines[0] == "*"
    assert set(lines) - {f"!{name}" for name in allowed} == {"*", "**/__pycache__"}
    assert allowed == set(copied_from_checkout())
    assert [name for name in allowed if not (ROOT / name).exists()] == []


def test_the_final_image_gets_the_environment_and_nothing_that_built_it():
    copies = [instruction for instruction in FINAL if instruction.keyword == "COPY"]
    assert [(copy.options, copy.words) for copy in copies] == [(("--from=build",), ["/opt/outbox", "/opt/outbox"])]
    assert not [step for step in arguments(FINAL, "RUN") if {"pip", "apt-get"} & set(step)]


def test_it_runs_as_a_numbered_user_who_owns_the_spools_volume():
    (user,) = arguments(FINAL, "USER")
    (step,) = arguments(FINAL, "RUN")
    assert user == ["10001:10001"]
    assert step[step.index("--uid") :][:2] == ["--uid", "10001"]
    assert arguments(FINAL, "VOLUME") == [[variables()["OUTBOX_DATA_DIR"]]]
    assert step[-1] == variables()["OUTBOX_DATA_DIR"]


def test_every_variable_it_sets_is_a_setting_with_a_value_that_settings_take():
    given = {name: value for name, value in variables().items() if name.startswith("OUTBOX_")}
    fields = {name.removeprefix("OUTBOX_").lower(): value for name, value in given.items()}
    assert fields.keys() <= Settings.model_fields.keys()
    assert Settings(**fields).log == "json"


def test_without_arguments_it_runs_up(installed):
    (entrypoint,) = arguments(FINAL, "ENTRYPOINT")
    (command,) = arguments(FINAL, "CMD")
    assert (installed.home / "bin" / entrypoint[0]).exists()
    assert f"{variables()['PATH'].split(':')[0]}/{entrypoint[0]}" == "/opt/outbox/bin/outbox"
    assert outbox.get_command(None, command[0]).make_context(command[0], command[1:])
