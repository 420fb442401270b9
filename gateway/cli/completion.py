"""`lineside completion`: completion of commands, options and machine names in a shell."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from gateway.cli.output import echo_data

VARIABLE = "_LINESIDE_COMPLETE"
"""The environment variable by which the script of a shell asks `lineside` for completions."""


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that completes commands, options, files, formats and the names of machines in SHELL.

    Add it to the file that the shell reads when it starts: ~/.bashrc, ~/.zshrc or ~/.config/fish/config.fish.
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"click can't complete in {shell}")
    asked = kind(ctx.find_root().command, {}, "lineside", VARIABLE)
    echo_data(asked.source_template % asked.source_vars(), nl=False)
