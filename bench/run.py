"""Runs scenarios and prints their figures."""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from typing import Final

from bench.case import Case, Size
from bench.figure import HEADING, Figure
from bench.scenarios import card, cost, critical, drain, growth, insert, latency, load, overhead, page, panels, start
from bench.server import bench_server

LONG: Final = "load"  # left out of `all`


def scenarios() -> Mapping[str, tuple[str, Mapping[str, Case]]]:
    """Return each scenario's first line and cases, by name."""
    modules = (insert, drain, card, latency, cost, critical, growth, start, page, panels, overhead, load)
    return {m.__name__.rpartition(".")[2]: ((m.__doc__ or "").splitlines()[0], m.CASES) for m in modules}


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line names. Returns 0, 1 when a figure missed its mark, 2 for wrong usage."""
    known = scenarios()
    options = _parser(list(known)).parse_args(arguments)
    if options.list:
        for name, (promise, cases) in known.items():
            print(f"{name:<9} {promise}")
            for case in cases:
                print(f"{'':<9}   --only {case}")
        return 0
    if options.name is None:
        print("bench: name a bench, or --list", file=sys.stderr)
        return 2
    names = [name for name in known if name != LONG] if options.name == "all" else [options.name]
    chosen = {name: _choose(known[name][1], options.only) for name in names}
    if not any(chosen.values()):
        print(f"bench: {options.name} has no case that begins like {options.only!r}. See --list.", file=sys.stderr)
        return 2

    size = Size(options.scale, options.seed)
    table: list[tuple[str, Figure]] = []
    for name, cases in chosen.items():
        if not cases:
            continue
        _say(f"{name}: {known[name][0]}")
        with bench_server(options.server_url) as server:
            for case, measure in cases.items():
                for figure in _run(case, measure(server, size)):
                    table.append((case, figure))
                    if options.json:
                        print(figure.as_json(name), flush=True)
                    else:
                        _say("    " + figure.as_row(case))
    if not options.json:
        print("\n".join([HEADING, *(figure.as_row(case) for case, figure in table)]), flush=True)
    missed = sum(figure.missed for _, figure in table)
    if missed:
        _say(f"{missed} of {len(table)} figures missed their mark (seed {size.seed})")
    return 1 if missed else 0


def _choose(cases: Mapping[str, Case], only: str | None) -> dict[str, Case]:
    beginnings = ("",) if only is None else tuple(part.strip() for part in only.split(",") if part.strip())
    return {name: case for name, case in cases.items() if name.startswith(beginnings)}


def _run(case: str, figures: Iterator[Figure]) -> Iterator[Figure]:
    """Pass the figures on. A case that breaks is a figure that missed, and the next case still runs."""
    started_s = time.monotonic()
    _say(f"  {case} (load average of the last minute before it: {os.getloadavg()[0]:.2f})")
    try:
        yield from figures
    except Exception as error:
        traceback.print_exc()
        yield Figure(f"did not end: {type(error).__name__}", math.nan, "", at_most=0)
    _say(f"  {case} took {time.monotonic() - started_s:.0f} s")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _parser(names: list[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure outbox on a PostgreSQL of its own. Progress goes to stderr, the table to stdout.",
        epilog="Exit: 0 done, 1 a figure missed its mark, 2 wrong usage",
    )
    add = parser.add_argument
    add("name", nargs="?", choices=[*names, "all"], help=f"which bench; all: everything but {LONG}")
    add("--only", metavar="CASE", help="only the cases that begin so; several with commas")
    add("--list", action="store_true", help="say what there is, and stop")
    add("--json", action="store_true", help='print lines {"bench", "figure", "value", "unit", "mark"}')
    add("--seed", type=int, default=1, help="of traffic, faults and victims (%(default)s)")
    add("--scale", type=float, default=1.0, help="size relative to the published runs (%(default)s)")
    add(
        "--server-url",
        metavar="URL",
        help="a superuser's URL, with pg_stat_statements preloaded; else a server of its own",
    )
    return parser
