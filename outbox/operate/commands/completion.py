"""outbox completion"""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from outbox.operate.console import json_option, print_json

VARIABLE = "_OUTBOX_COMPLETE"  # what click looks for when the program is called `outbox`


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@json_option
@click.pass_context
def command(context: click.Context, shell: str, as_json: bool) -> None:
    """Print the script that completes commands and options with Tab.

    \b
      eval "$(outbox completion bash)"                   in ~/.bashrc
      eval "$(outbox completion zsh)"                    in ~/.zshrc, after compinit
      outbox completion fish > ~/.config/fish/completions/outbox.fish

    \b
    Exit: 0 done, 2 wrong usage
    """
    made = get_completion_class(shell)
    assert made is not None
    script = made(context.find_root().command, {}, "outbox", VARIABLE).source()
    if as_json:
        print_json({"shell": shell, "script": script})
    else:
        click.echo(script)
