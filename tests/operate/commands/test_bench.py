"""outbox bench runs the benches of a checkout, and says where they are when there is none."""

from __future__ import annotations

import subprocess
import sys

from outbox.operate.commands import bench


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "outbox", "bench", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_in_a_checkout_it_runs_its_benches_with_their_options_and_exit_code():
    listed = run("--list")
    assert (listed.returncode, listed.stdout[:6]) == (0, "insert")
    assert run("nonsense").returncode == 2


def test_the_help_has_both_an_example_and_the_benches_options():
    text = run("--help").stdout
    assert "outbox bench latency --json" in text
    assert "--server-url" in text


def test_without_a_checkout_one_line_says_what_to_do(outbox, monkeypatch, tmp_path):
    monkeypatch.setattr(bench, "CHECKOUT", tmp_path)
    done = outbox("bench", "latency")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("outbox: the benches are not part of the installed package. Run it in a checkout")
    assert done.err.count("\n") == 1
    assert outbox("bench", "--help").code == 0
