"""Shared by the commands: options, loading a configuration, running a service until a signal, reports."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import orjson

from drivers.extras import MissingExtra, require
from gateway.cli.group import message_of
from gateway.cli.output import echo, echo_json
from gateway.cli.progress import Progress
from gateway.common.event_loop import new_event_loop
from gateway.common.logging import flush_logging
from gateway.common.setting_types import MissingSecret, parse_duration
from gateway.common.stop_event import StopEvent
from gateway.common.text import counted
from gateway.model.path import matches
from gateway.settings.exposure import log_exposures
from gateway.settings.load import load_factory
from gateway.settings.locked_keys import log_key_problems
from gateway.settings.overrides import Override, parse_override
from gateway.settings.policy import read_policy
from gateway.settings.problems import ConfigurationError
from gateway.settings.signature_memory import remember
from gateway.software.required import require_software

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from gateway.settings.factory import Factory, Machine
    from gateway.settings.sections import MetricsSection
    from gateway.settings.signature_memory import Service

EXPECTED = (MissingExtra, MissingSecret, OSError, sqlite3.OperationalError)
"""Errors that end a service with a line of text: a missing secret or library, a port or a spool in use."""

_OVERRIDES = "lineside-overrides"
"""The key of a command's context for its values of `--set`."""

Command = TypeVar("Command", bound="Callable[..., Any]")


def _keep_overrides(context: click.Context, option: click.Parameter, written: tuple[str, ...]) -> None:
    """Parse the values of `--set`, for `load`."""
    try:
        context.meta[_OVERRIDES] = tuple(map(parse_override, written))
    except ValueError as error:
        raise click.BadParameter(str(error), context, option) from None


SET = click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", expose_value=False, callback=_keep_overrides,
    help="A value in place of that of the file, as in gateway.id=edge-07; may be given again.",
)  # fmt: skip
"""Values in place of those of the factory's YAML."""


def CONFIG(command: Command) -> Command:  # noqa: N802 - a decorator like the others
    """The factory's YAML, and values in place of those in it."""  # noqa: D401 - of a decorator
    return click.argument("config", type=click.Path(dir_okay=False, path_type=Path))(SET(command))


def complete_machine(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the names of machines of the CONFIG before the cursor that begin with the typed text; for the shell."""
    del param
    # while an option still has no value, click has not assigned the arguments
    config = ctx.params.get("config") or next(iter(ctx.args), None)
    if config is None:
        return []
    try:
        machines = load_factory(Path(config), overrides()).machines
    except ConfigurationError:
        return []
    return [name for name in dict.fromkeys(one.path.machine for one in machines) if name.startswith(incomplete)]


MACHINE = click.option(
    "--machine", "pattern", default="*", metavar="PATTERN", shell_complete=complete_machine,
    help="Only machines that match, such as 'press-0*' or '*/curing-1/*'.",
)  # fmt: skip
"""Some machines of a factory."""


class _Duration(click.ParamType[float]):
    """A length of time, as in 10s or 500ms; in seconds. With `bare` a number without a unit is in seconds."""

    name = "duration"

    def __init__(self, *, bare: bool = False) -> None:
        self._bare = bare

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:  # noqa: ANN401 - click's
        if isinstance(value, float):
            return value
        if self._bare and str(value).replace(".", "", 1).isdecimal():
            return float(value)
        try:
            return float(str(parse_duration(value)))
        except ValueError as error:
            self.fail(str(error), param, ctx)


DURATION, SECONDS = _Duration(), _Duration(bare=True)


class _OutputFile(click.Path):
    """A file to write at the end of a command: whether that is possible is found before the work begins."""

    def __init__(self) -> None:
        super().__init__(dir_okay=False, writable=True, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401 - click's
        file = Path(os.fsdecode(super().convert(value, param, ctx)))
        if not file.exists():
            if not file.parent.is_dir():
                self.fail(f"the folder {file.parent} does not exist", param, ctx)
            if not os.access(file.parent, os.W_OK | os.X_OK):
                self.fail(f"the folder {file.parent} can't be written to", param, ctx)
        return file


OUTPUT_FILE = _OutputFile()


class _OutputFolder(click.Path):
    """A folder to write files into, which may be made: whether that is possible is found before the work begins."""

    def __init__(self) -> None:
        super().__init__(file_okay=False, writable=True, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401 - click's
        folder = Path(os.fsdecode(super().convert(value, param, ctx)))
        above = next(one for one in (folder.absolute(), *folder.absolute().parents) if one.exists())
        if not above.is_dir():
            self.fail(f"{above} is not a folder", param, ctx)
        if not os.access(above, os.W_OK | os.X_OK):
            self.fail(f"the folder {above} can't be written to", param, ctx)
        return folder


OUTPUT_FOLDER = _OutputFolder()

UNREACHABLE = 3
"""The exit code of a command whose device, broker, store or gateway does not answer."""


class Unreachable(click.ClickException):
    """A device, broker, store or gateway does not answer."""

    exit_code = UNREACHABLE


FORMAT = click.option("--format", "style", type=click.Choice(["text", "json"]), default="text", show_default=True,
                      help="For people, or for other programs.")  # fmt: skip
"""Text for people, or JSON for other programs; docs/commands.md explains the keys of each command."""


def print_json(result: object) -> None:
    """Print the result of a command as one JSON document."""
    echo_json(orjson.dumps(result, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS))


REPORT = click.option("--report", type=OUTPUT_FILE, help="Write a closing report (JSON) to this file.")

WITH_STDIN = click.option("--with-stdin", is_flag=True, hidden=True, help="Stop when standard input ends.")
"""For a parent that starts services: they end with it, however it ends."""


def overrides() -> tuple[Override, ...]:
    """Return the values of `--set` of the command that runs."""
    context = click.get_current_context(silent=True)
    found: tuple[Override, ...] = () if context is None else context.meta.get(_OVERRIDES, ())
    return found


def load(file: Path, *, service: Service | None = None, as_written: bool = False) -> Factory:
    """Return the configuration with the values of `--set`; prints every problem and exits with 1 where it has any.

    The values of `--set` are for the CONFIG of a command: another file is loaded `as_written`.

    A `service` accepts no configuration without the signature that the policy of this machine requires, and remembers
    the signature that it accepts. It refuses changed software as well, if the policy requires that.
    """
    try:
        with Progress(f"reading {file}"):
            factory = load_factory(file, () if as_written else overrides(), service=service)
        if service is not None:
            require_software(read_policy())
        remember(factory)
        return factory  # noqa: TRY300 - only the service has a signature to remember
    except ConfigurationError as error:
        from gateway.cli.problem_text import print_problems  # noqa: PLC0415 - only after an error

        print_problems(error.problems)
        if (count := len(error.problems)) > 1:
            echo(f"{file}: {counted(count, 'problem')}", err=True)
        sys.exit(1)


def log_findings(factory: Factory, sections: Collection[str]) -> None:
    """Log once each exposure in the sections of a service, and each key that it can't use."""
    log_exposures(factory, sections)
    log_key_problems(factory, sections)


def require_metrics(metrics: MetricsSection) -> None:
    """Raise `MissingExtra` if an endpoint is configured and its library is not installed."""
    if metrics.listen is not None:
        require("metrics")


def machines_of(factory: Factory, pattern: str) -> list[Machine]:
    """Return the machines whose path, or the end of it, matches a glob; exits with 1 where none does."""
    found = [machine for machine in factory.machines if matches(pattern, machine.path)]
    if not found:
        echo(f"{factory.file}: no machine matches {pattern!r}", err=True)
        sys.exit(1)
    return found


STOP_SECONDS = 5.0
"""Seconds after which a service that was asked to stop ends in any case: a disk or a library may never answer."""

LAST_LINE = 0.1
"""Seconds for the line of text that says so."""

NOT_REPORTED = 4
"""Exit code of a service that worked, and whose closing report could not be written."""


def serve(main: Callable[[StopEvent], Awaitable[None]], *, with_stdin: bool = False, bounded: bool = False) -> None:
    """Run a service until SIGTERM or SIGINT (or the end of standard input) sets its stop event.

    A `bounded` one ends within `STOP_SECONDS` from then, whatever holds it.
    """

    async def body() -> None:
        stop = StopEvent()
        deadline = asyncio.create_task(_end_in_time(stop), name="deadline") if bounded else None
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.ask, number.name)
        if with_stdin:
            loop.add_reader(sys.stdin.fileno(), _at_end, loop, stop)
        await main(stop)
        if deadline is not None:
            deadline.cancel()

    try:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(body())
    except BaseExceptionGroup as group:
        ours, others = group.split(EXPECTED)
        if others is not None:
            raise
        _fail(*_leaves(ours))
    except EXPECTED as error:
        _fail(error)


async def _end_in_time(stop: asyncio.Event) -> None:
    await stop.wait()
    timer = threading.Timer(STOP_SECONDS - 0.2 - LAST_LINE, _end_now)
    timer.daemon = True
    timer.start()


def _end_now() -> None:
    # standard error may be a pipe that nobody reads, and it must not stop the end
    threading.Thread(target=_report_end, name="last line", daemon=True).start()
    time.sleep(LAST_LINE)
    os._exit(1)


def _report_end() -> None:
    text = f"lineside: not stopped within {STOP_SECONDS:g} s; a disk or a device does not answer. Ending now\n"
    with suppress(OSError):
        os.write(sys.stderr.fileno(), text.encode())


def _at_end(loop: asyncio.AbstractEventLoop, stop: StopEvent) -> None:
    if not os.read(sys.stdin.fileno(), 4096):
        loop.remove_reader(sys.stdin.fileno())
        stop.ask("end of standard input")


def _fail(*errors: BaseException) -> None:
    flush_logging()  # the last line says why the service ended
    for error in errors:
        if isinstance(error, BrokenPipeError):
            raise error  # the reader of the output is gone
        echo(f"lineside: {message_of(error) if isinstance(error, OSError) else error}", err=True)
    sys.exit(1)


def _leaves(group: BaseException | None) -> list[BaseException]:
    if isinstance(group, BaseExceptionGroup):
        return [leaf for error in group.exceptions for leaf in _leaves(error)]
    return [] if group is None else [group]


def write_report(file: Path | None, report: dict[str, Any]) -> None:
    """Write a closing report where one was asked for; exits with `NOT_REPORTED` where that fails."""
    if file is None:
        return
    try:
        file.write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    except OSError as error:
        echo(f"lineside: the report {file} can't be written: {error.strerror}", err=True)
        sys.exit(NOT_REPORTED)


def size_of(factory: Factory) -> str:
    """Return how large a factory is, in machines and points."""
    points = sum(len(machine.quantities) for machine in factory.machines)
    return f"{counted(len(factory.machines), 'machine')}, {counted(points, 'point')}"
