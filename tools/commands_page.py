#!/usr/bin/env python3
"""Write the part of docs/commands.md that follows from the commands themselves: arguments, options and examples.

tools/commands_page.py            write it
tools/commands_page.py --check    exit 1 if the page differs
"""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "commands.md"
BEGIN, END = "<!-- commands: begin -->\n", "<!-- commands: end -->\n"

sys.path.insert(0, str(ROOT))

from gateway.cli import main  # noqa: E402 - of this tree

if TYPE_CHECKING:
    from collections.abc import Iterator

SHARED = frozenset({"log", "log_level", "help"})
"""Options of all commands, which the page describes once."""


def pages(ctx: click.Context, command: click.Command) -> Iterator[str]:
    """Yield the sections of a command, and of the commands in it."""
    if isinstance(command, click.Group):
        for name in command.list_commands(ctx):
            below = command.get_command(ctx, name)
            if below is not None and not below.hidden:
                yield from pages(click.Context(below, info_name=name, parent=ctx), below)
        return
    yield "\n".join(_section(ctx, command))


def _section(ctx: click.Context, command: click.Command) -> Iterator[str]:
    arguments = [param.make_metavar(ctx) for param in command.params if isinstance(param, click.Argument)]
    yield f"### {ctx.command_path}\n"
    yield f"`{' '.join((ctx.command_path, *arguments, '[OPTIONS]'))}`\n"
    yield inspect.cleandoc(command.help or "").replace("\f", "") + "\n"
    rows = [
        record
        for param in command.params
        if isinstance(param, click.Option) and param.name not in SHARED and (record := param.get_help_record(ctx))
    ]
    if rows:
        yield "| option | meaning |\n|---|---|"
        for flags, text in rows:
            yield f"| `{_cell(flags)}` | {_cell(text)} |"
        yield ""
    if command.epilog:
        lines = [line.strip() for line in command.epilog.splitlines() if line.startswith("  ")]
        yield "\n".join(("```sh", *lines, "```\n"))


def _cell(text: str) -> str:
    """Return a text for a cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")


def written(page: str) -> str:
    """Return the page with the present commands."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    ctx = click.Context(main, info_name="lineside", **main.context_settings)
    reference = "\n".join(pages(ctx, main))
    return f"{before}{BEGIN}\n{reference}\n{END}{after}"


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    if "--check" in sys.argv[1:]:
        sys.exit(f"{PAGE.name} differs from the commands: run tools/commands_page.py" if written(text) != text else 0)
    PAGE.write_text(written(text), encoding="utf-8")
