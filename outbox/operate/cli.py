"""The command line: finds the commands, and turns errors into one line and an exit code."""

from __future__ import annotations

import importlib
import importlib.metadata
import io
import os
import pkgutil
import re
import signal
import sys
import traceback

import click

from outbox.operate import commands
from outbox.redact import scrub
from outbox.settings import UsageError

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells have it

# How the help groups them; a command that stands nowhere here comes last.
PURPOSES = {
    "See it work": ("demo", "simulator", "bench"),
    "Run it": ("up", "worker", "migrate", "adopt", "db"),
    "Send": ("send", "cancel"),
    "Look": ("stats", "shape", "show", "explain", "tail", "check", "doctor"),
    "Put it right": ("dead", "pause", "resume", "suppress", "bot"),
}
OTHER = "Other"


class Commands(click.Group):
    """One command per module of outbox.operate.commands, imported when it is used: the help alone loads all."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the modules' names, with - for _."""
        return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(commands.__path__))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the module's `command`, or None."""
        if cmd_name not in self.list_commands(ctx):
            return None
        module = importlib.import_module(f"{commands.__name__}.{cmd_name.replace('-', '_')}")
        command = module.command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands by purpose, each with the beginning of its help."""
        left = self.list_commands(ctx)
        rows: dict[str, list[tuple[str, str]]] = {}
        for purpose, names in (*PURPOSES.items(), (OTHER, tuple(left))):
            for name in names:
                command = self.get_command(ctx, name) if name in left else None
                if command is not None and not command.hidden:
                    left.remove(name)
                    rows.setdefault(purpose, []).append((name, _short_help(command)))
        widest = max(len(name) for group in rows.values() for name, _ in group)
        for purpose, group in rows.items():
            with formatter.section(purpose):
                # One column for all sections.
                formatter.write_dl([(name.ljust(widest), text) for name, text in group])


def _short_help(command: click.Command) -> str:
    """Return the first sentence of a command's help, up to what it adds after a colon or in brackets."""
    return re.split(r" ?[:;(]", command.get_short_help_str(200))[0].rstrip(". ")


def _version() -> str:
    try:
        return importlib.metadata.version("outbox")
    except importlib.metadata.PackageNotFoundError:  # a checkout that was never installed
        return "unknown"


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(_version(), prog_name="outbox", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="Show the whole traceback of an error.")
def outbox(debug: bool) -> None:
    """Deliver Telegram messages that were committed with your data.

    \b
      outbox demo                         see it work, nothing to set up
      outbox migrate                      make or upgrade the tables in OUTBOX_DATABASE_URL
      outbox up                           deliver
      outbox show 17                      why message 17 failed, or what became of it
      outbox explain 17                   why it still waits, and when it will go
      eval "$(outbox completion bash)"    complete commands and options with Tab

    \b
    Each command has --help with an example. Exit: 0 done, 1 failed or not found, 2 wrong usage
    """


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 wrong usage; a command may have others and says so."""
    arguments = sys.argv[1:] if arguments is None else arguments
    # So that `with` blocks end: the embedded server stops with its last user. A worker brings a handler of its own.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without UTF-8 shows ? instead of failing
    debug = "--debug" in arguments[: _first_command(arguments)]
    try:
        code = outbox.main(arguments, prog_name="outbox", standalone_mode=False)
    except UsageError as error:
        code = _report(error, str(error), EXIT_USAGE, debug)
    except click.Abort:
        code = _report(None, "interrupted.", EXIT_INTERRUPTED, debug)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        code = error.exit_code
    except click.UsageError as error:
        code = _report(error, _explain_usage(error), EXIT_USAGE, debug)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
    except BrokenPipeError:  # `outbox … | head`
        # What is left in the buffer has nowhere to go; Python would complain about it at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = EXIT_FAILED
    except Exception as error:
        from outbox.operate.explain import explain  # here, because `outbox simulator` needs no database driver

        code = _report(error, explain(error), EXIT_FAILED, debug)
    sys.exit(code if isinstance(code, int) else 0)


def _end(number: int, frame: object) -> None:
    sys.exit(128 + number)


def _first_command(arguments: list[str]) -> int:
    """Return the index of the first argument that is no option of the group itself."""
    return next((i for i, argument in enumerate(arguments) if not argument.startswith("-")), len(arguments))


def _explain_usage(error: click.UsageError) -> str:
    """Return click's words and where the help is, in one line."""
    text = " ".join(error.format_message().split())
    if text and text[-1] not in ".?!":
        text += "."
    return f"{text} Help: {error.ctx.command_path if error.ctx else 'outbox'} --help"


def _report(error: Exception | None, text: str, code: int, debug: bool) -> int:
    if debug and error is not None:
        sys.stderr.write(scrub("".join(traceback.format_exception(error))))
    click.echo(f"outbox: {scrub(text)}", err=True)
    return code
