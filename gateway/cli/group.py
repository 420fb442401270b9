"""The behaviour that all commands share: help, suggestions, options for the log, errors and exit codes.

| exit code | means |
|---|---|
| 0   | success |
| 1   | the command failed, or its result is negative |
| 2   | wrong arguments; nothing was done |
| 3   | a device, broker, store or gateway does not answer |
| 4   | a service worked, and its closing report could not be written |
| 130 | interrupted with Ctrl-C |
| 141 | the reader of the output has closed it, as `head` does |
"""

from __future__ import annotations

import os
import shutil
import sys
from contextlib import suppress
from difflib import get_close_matches
from importlib import import_module
from io import TextIOWrapper
from typing import TYPE_CHECKING, Any, NoReturn

import click
from click.shell_completion import CompletionItem

from gateway.cli.examples import EXAMPLES
from gateway.cli.output import echo
from gateway.common.text import printable_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

INTERRUPTED, CLOSED_PIPE = 130, 141

LOG_STYLES = ("auto", "json", "console")
LOG_LEVELS = ("debug", "info", "warning", "error")

NARROWEST, WIDEST = 40, 100
"""Columns of a help page, at the least and at the most."""


NOT_FOR_STRUCTLOG = ("better_exceptions", "greenlet", "rich")
"""Packages that structlog loads where they are installed: for tracebacks with variables, which may be secrets, and
for threads of another kind. They need 5 MB of memory."""


class _HelpFormatter(click.HelpFormatter):
    """Leaves room for the texts beside the names of options and commands, in a narrow terminal as well."""

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        super().write_dl(rows, min(col_max, self.width // 3), col_spacing)


class _Context(click.Context):
    formatter_class = _HelpFormatter


class CommandGroup(click.Group):
    """A group of commands, with the whole help of each in its list."""

    context_class = _Context

    def summary(self, ctx: click.Context, name: str) -> str:
        """Return the line of a command in the list; empty for a hidden command."""
        command = self.get_command(ctx, name)
        return "" if command is None or command.hidden else command.get_short_help_str(limit=1000)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if not (ctx.resilient_parsing or name.startswith("-")) and self.get_command(ctx, name) is None:
            names = [one for one in self.list_commands(ctx) if self.summary(ctx, one)]
            close = get_close_matches(name, names, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(names)}"
            raise click.UsageError(f"No such command {name!r}; {hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(name, text) for name in self.list_commands(ctx) if (text := self.summary(ctx, name))]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        names = [name for name in self.list_commands(ctx) if name.startswith(incomplete)]
        found = [CompletionItem(name, help=text) for name in names if (text := self.summary(ctx, name))]
        return found + click.Command.shell_complete(self, ctx, incomplete)


class DefaultGroup(CommandGroup):
    """A group whose first argument may be a file in place of a command: then it is `show`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in {*self.commands, *ctx.help_option_names}:
            args = ["show", *args]
        return super().parse_args(ctx, args)


class LazyGroup(CommandGroup):
    """The commands of a table: name -> place (`module:attribute`), and line in the list; a hidden command has none.

    A command is imported when it is called; the list of commands needs none of them.
    """

    def __init__(self, *args: Any, table: Mapping[str, tuple[str, str]], **kwargs: Any) -> None:  # noqa: ANN401 - click's
        super().__init__(*args, **kwargs)
        self._table = table

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,  # noqa: ANN401 - click's
    ) -> click.Context:
        # the width of the terminal, also below the 50 columns of click
        columns = shutil.get_terminal_size().columns
        extra.setdefault("terminal_width", min(max(columns, NARROWEST), WIDEST) - 2)
        return super().make_context(info_name, args, parent, **extra)

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return [name for name, (_, text) in self._table.items() if text]

    def summary(self, ctx: click.Context, name: str) -> str:
        del ctx
        return self._table[name][1]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in self._table:
            return None
        import_structlog()
        module, _, attribute = self._table[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        complete(command, cmd_name)
        return command

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - click's
        """Run a command; an error that a user can cause is a line of text, with an exit code of the table above."""
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, click.Abort):
            if sys.stderr.isatty():
                echo(err=True)  # behind the ^C
            ctx.exit(INTERRUPTED)
        except BrokenPipeError:
            drop_output()
            ctx.exit(CLOSED_PIPE)
        except click.ClickException as error:
            vars(error)["message"] = printable_lines(error.message)  # devices and files choose names
            raise
        except Exception as error:  # noqa: BLE001 - raised again unless a user can cause it
            _fail(error)


def _fail(error: Exception) -> NoReturn:
    """Raise the error of click for an error that a user, a file, a device or a network can cause, else `error`."""
    import sqlite3  # noqa: PLC0415 - only after an error

    from drivers.base import DriverError, NotConnected  # noqa: PLC0415 - only after an error
    from drivers.extras import MissingExtra  # noqa: PLC0415 - only after an error
    from drivers.secret import MissingSecret  # noqa: PLC0415 - only after an error
    from gateway.cli.common import Unreachable  # noqa: PLC0415 - only after an error
    from gateway.stores.base import StoreError, Unavailable  # noqa: PLC0415 - only after an error

    if isinstance(error, (NotConnected, Unavailable)):
        raise Unreachable(printable_lines(str(error))) from None
    if isinstance(error, OSError):
        drop_output()
        raise click.ClickException(printable_lines(message_of(error))) from None
    if isinstance(error, (sqlite3.Error, MissingSecret, MissingExtra, DriverError, StoreError)):
        raise click.ClickException(printable_lines(str(error))) from None
    raise error


def message_of(error: OSError) -> str:
    """Return the text of an error of the operating system, with its file: `plan.txt: No space left on device`."""
    if error.strerror and error.filename is not None:
        return f"{os.fsdecode(error.filename)}: {error.strerror}"
    return error.strerror or str(error)


def drop_output() -> None:
    """Send to nowhere what standard output does not accept, or the interpreter tries again when it ends."""
    try:
        sys.stdout.flush()
    except OSError:
        with suppress(OSError), open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - a device
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
    except (AttributeError, ValueError):  # there is none, or it is closed
        pass


def import_structlog() -> None:
    """Import structlog without the packages that nothing uses here; others can import them afterwards."""
    absent = [name for name in NOT_FOR_STRUCTLOG if name not in sys.modules]
    for name in absent:
        sys.modules[name] = None  # type: ignore[assignment] # the documented way to make an import fail
    try:
        import structlog  # noqa: F401, PLC0415 - the list of commands needs no log
    finally:
        for name in absent:
            del sys.modules[name]


def complete(command: click.Command, words: str) -> None:
    """Give a command, or the commands of a group, what all have: the options of the log, and examples in the help."""
    if isinstance(command, click.Group):
        for name, one in command.commands.items():
            complete(one, f"{words} {name}")
        return
    command.context_class = _Context
    if words in EXAMPLES:
        command.epilog = "\n".join(("\b", "Examples:", *(f"  {line}" for line in EXAMPLES[words])))
    if not any(param.name in {"log", "log_level"} for param in command.params):
        command.params += [
            _log_option("--log", "log", LOG_STYLES, "How to log."),
            _log_option("--log-level", "log_level", LOG_LEVELS, "Log this level and above."),
        ]


def _log_option(flag: str, name: str, choices: tuple[str, ...], text: str) -> click.Option:
    return click.Option(
        [flag, name], type=click.Choice(choices), expose_value=False, callback=_log_as_said, help=text
    )


def _log_as_said(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    """Apply an option of the log that is written after the command."""
    if value is None or ctx.resilient_parsing:
        return
    said = ctx.find_root().params
    said[str(param.name)] = value
    start_log(said["log"], said["log_level"])


def start_log(style: str, level: str) -> None:
    """Configure the log, and an output that can show any text."""
    from gateway.common.logging import configure_logging, flush_logging  # noqa: PLC0415 - the list needs no log

    configure_logging(style, level)
    click.get_current_context().find_root().call_on_close(flush_logging)
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
