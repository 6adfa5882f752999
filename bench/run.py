"""Runs scenarios and prints their figures."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Final

from bench.case import Case, Size
from bench.figure import Figure
from bench.scenarios import card, cost, critical, drain, latency, load
from bench.server import bench_server

LONG: Final = "load"  # left out of `all`


def scenarios() -> Mapping[str, tuple[str, Mapping[str, Case]]]:
    """Return each scenario's first line and cases, by name."""
    modules = (drain, card, latency, cost, critical, load)
    return {m.__name__.rpartition(".")[2]: ((m.__doc__ or "").splitlines()[0], m.CASES) for m in modules}


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line names. Returns 0, 1 when a figure missed its mark, 2 for wrong usage."""
    known = scenarios()
    options = _parser(list(known)).parse_args(arguments)
    if options.list:
        for name, (promise, cases) in known.items():
            print(f"{name:<9} {promise}")
            for case in cases:
                print(f"{'':<9}   --case {case}")
        return 0
    if options.name is None:
        print("bench: name a bench, or --list", file=sys.stderr)
        return 2
    names = [name for name in known if name != LONG] if options.name == "all" else [options.name]
    if options.case is not None and options.case not in {case for name in names for case in known[name][1]}:
        print(f"bench: {options.name} has no case {options.case!r}. See --list.", file=sys.stderr)
        return 2

    missed = 0
    for name in names:
        _say(f"{name}: {known[name][0]}")
        with bench_server(options.server_url) as server:
            for case, measure in known[name][1].items():
                if options.case in (None, case):
                    missed += _run(name, case, measure(server, Size(options.scale, options.seconds)), options.json)
    if missed:
        _say(f"{missed} figures missed their mark")
    return 1 if missed else 0


def _run(name: str, case: str, figures: Iterator[Figure], as_json: bool) -> int:
    started_s = time.monotonic()
    _say(f"  {case} (load average of the last minute before it: {os.getloadavg()[0]:.2f})")
    missed = 0
    for figure in figures:
        missed += figure.missed
        print(figure.as_json(name) if as_json else figure.as_row(name), flush=True)
    _say(f"  {case} took {time.monotonic() - started_s:.0f} s")
    return missed


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _parser(names: list[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure outbox on a PostgreSQL of its own.",
        epilog="Exit: 0 done, 1 a figure missed its mark, 2 wrong usage",
    )
    add = parser.add_argument
    add("name", nargs="?", choices=[*names, "all"], help=f"which bench; all: everything but {LONG}")
    add("--json", action="store_true", help='print lines {"bench", "figure", "value", "unit", "mark"}')
    add("--case", help="only this case of the bench")
    add("--list", action="store_true", help="say what there is, and stop")
    add("--scale", type=float, default=1.0, help="size relative to the published runs (%(default)s)")
    add("--seconds", type=float, default=180.0, help="length of each load (%(default)s)")
    add(
        "--server-url",
        metavar="URL",
        help="a superuser's URL, with pg_stat_statements preloaded; else a server of its own",
    )
    return parser
