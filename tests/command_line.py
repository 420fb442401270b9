"""All commands of `lineside`, from the table, for tests of their common behaviour."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import click
from click.testing import CliRunner

from gateway.cli import COMMANDS, main
from gateway.cli.arguments import MOMENT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from click.testing import Result


class Found(NamedTuple):
    """A command by its words (`spool`, `status`), with its parameters."""

    words: tuple[str, ...]
    command: click.Command

    @property
    def name(self) -> str:
        return " ".join(self.words)

    @property
    def reads_a_factory(self) -> bool:
        """Whether its first argument is a factory's YAML."""
        arguments = [param for param in self.command.params if isinstance(param, click.Argument)]
        return bool(arguments) and "CONFIG" in {arguments[0].metavar, str(arguments[0].name).upper()}

    def options(self) -> Iterator[click.Option]:
        """Yield its options that are listed."""
        for param in self.command.params:
            if isinstance(param, click.Option) and not param.hidden:
                yield param


def found() -> list[Found]:
    """Return all commands, and the commands in groups, hidden commands included."""
    return [one for name in COMMANDS for one in _below((name,), main)]


def _below(words: tuple[str, ...], group: click.Group) -> Iterator[Found]:
    command = group.get_command(click.Context(group), words[-1])
    assert command is not None, words
    if isinstance(command, click.Group):
        for name in command.commands:
            yield from _below((*words, name), command)
    else:
        yield Found(words, command)


ALL = found()
"""Every command; a test that is parametrised with them runs for a command that is added, too."""

LISTED = [one for one in ALL if COMMANDS[one.words[0]].help]
"""Those that a user is to call."""

OF_A_FACTORY = [one for one in LISTED if one.reads_a_factory]
"""Those whose first argument is a factory's YAML."""


def named(one: Found) -> str:
    """Return the name of a command, as the id of a test."""
    return one.name


def lineside(*arguments: str, **how: str) -> Result:
    """Run a command in this process; `how` is its standard input."""
    return CliRunner().invoke(main, arguments, **how)  # type: ignore[arg-type]


def needed_after_config(one: Found) -> tuple[str, ...]:
    """Return arguments that a command requires beside CONFIG."""
    more: list[str] = []
    for param in one.command.params[1:]:
        if isinstance(param, click.Argument) and param.required:
            more.append("2026-11-24T06:00Z" if param.type is MOMENT else "x")
        elif isinstance(param, click.Option) and param.required:
            choices = getattr(param.type, "choices", ())
            more += [param.opts[0], str(choices[0]) if choices else "x"]
    return tuple(more)
