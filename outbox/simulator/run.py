"""The simulator as a program: options, one line when it listens, a clean end on SIGTERM or SIGINT."""

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

from outbox.simulator.config import CHAT_INTERVAL_S, GROUP_LIMIT, GROUP_WINDOW_S, RATE, Config
from outbox.simulator.faults import parse_rule, read_toml
from outbox.simulator.server import serve

_EPILOG = """
example:
  Set OUTBOX_API_URL to the URL it prints, and OUTBOX_TOKEN to 1:anything.
    %(prog)s --port 8081 --jitter-ms 0-30
    curl -d chat_id=42 -d text=hi http://127.0.0.1:8081/bot1:anything/sendMessage
    curl http://127.0.0.1:8081/_sim/stats

Exit: 0 stopped by a signal, 1 failed (the port is taken), 2 wrong usage
"""


def main(arguments: Sequence[str] | None = None, prog: str = "python -m outbox.simulator") -> int:
    """Run until a signal comes; returns the exit status."""
    options = _parser(prog).parse_args(arguments)
    try:
        config = Config(
            rate=options.rate,
            rate_window_s=options.rate_window_s,
            chat_interval_s=options.chat_interval_s,
            group_limit=options.group_limit,
            group_window_s=options.group_window_s,
            latency_s=options.latency_ms / 1000,
            jitter_s=options.jitter_ms,
            answer_s=options.answer_ms / 1000,
            seed=options.seed,
            keep=options.keep,
            keep_parameters=options.keep_parameters,
            connection_age_s=options.connection_age_s,
            connection_idle_s=options.connection_idle_s,
        )
        rules = [] if options.faults is None else read_toml(options.faults)
        for rule in rules:
            parse_rule(rule)
    except ValueError as error:
        print(f"simulator: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"simulator: cannot read {options.faults}: {error.strerror or error}.", file=sys.stderr)
        return 2
    try:
        _run(listen(config, options.host, options.port, rules, as_json=options.json))
    except OSError as error:
        reason = error.strerror or error
        print(f"simulator: cannot listen on {options.host}:{options.port}: {reason}. Use --port 0.", file=sys.stderr)
        return 1
    return 0


async def listen(config: Config, host: str, port: int, rules: list[dict[str, Any]], *, as_json: bool = False) -> None:
    """Serve until SIGTERM or SIGINT; prints the URL once, when requests can come. Raises OSError, BadRuleError."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with serve(config, host, port) as running:
        running.faults.add(rules)
        print(json.dumps({"url": running.url}) if as_json else f"simulator: listening on {running.url}", flush=True)
        await stop.wait()


def _run(listening: Coroutine[None, None, None]) -> None:
    try:
        import uvloop
    except ImportError:
        asyncio.run(listening)
    else:
        uvloop.run(listening)


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="A strict Telegram Bot API for tests: true limits, faults on demand, a ledger at /_sim/log.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    add("--port", type=int, default=8081, help="port; 0 takes a free one (%(default)s)")
    add("--rate", type=int, default=RATE, help="messages of a bot per window; 0: no limit (%(default)s)")
    add("--rate-window-s", type=float, default=1.0, help="that window (%(default)s)")
    add("--chat-interval-s", type=float, default=CHAT_INTERVAL_S, help="1 message per chat in this (%(default)s)")
    add("--group-limit", type=int, default=GROUP_LIMIT, help="messages to a group per window (%(default)s)")
    add("--group-window-s", type=float, default=GROUP_WINDOW_S, help="that window (%(default)s)")
    add("--latency-ms", type=float, default=0.0, help="delay before the verdict (%(default)s)")
    add("--jitter-ms", type=_span_s, default=(0.0, 0.0), metavar="LO-HI", help="added to it, at random (0-0)")
    add("--answer-ms", type=float, default=0.0, help="delay after the verdict (%(default)s)")
    add("--seed", type=int, default=1, help="of jitter and faults (%(default)s)")
    add("--keep", type=int, default=1_000_000, help="calls the ledger remembers (%(default)s)")
    add("--keep-parameters", action="store_true", help="and the parameters of each call")
    add("--connection-age-s", type=float, default=0.0, help="close connections of this age, busy or not; 0: never")
    add("--connection-idle-s", type=float, default=0.0, help="reset the call after so long an idleness; 0: never")
    add("--faults", type=Path, metavar="FILE", help="rules as [[fault]] tables of TOML, in force from the start")
    add("--json", action="store_true", help='print {"url": …} when it listens, instead of a line of text')
    return parser


def _span_s(text: str) -> tuple[float, float]:
    least, dash, most = text.partition("-")
    try:
        return (float(least) / 1000, float(most if dash else least) / 1000)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not LO-HI in milliseconds, like 0-30") from None
