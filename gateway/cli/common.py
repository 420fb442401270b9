"""Shared by the commands: options, loading a configuration, running a service until a signal, reports."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import orjson

from gateway.common.event_loop import new_event_loop
from gateway.common.setting_types import MissingSecret, parse_duration
from gateway.common.text import counted
from gateway.metrics.endpoint import missing_extra
from gateway.model.path import matches
from gateway.settings.load import load_factory
from gateway.settings.problems import LONGEST_MESSAGE, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from gateway.settings.factory import Factory, Machine
    from gateway.settings.problems import Problem
    from gateway.settings.sections import MetricsSection

EXPECTED = (MissingSecret, OSError, sqlite3.OperationalError)
"""Errors that end a service with a line of text: a missing secret, a port or a spool in use."""

SAME_MESSAGES = 20
"""Problems with the same message that are printed."""

CONFIG = click.argument("config", type=click.Path(dir_okay=False, path_type=Path))
"""The factory's YAML."""


class _Duration(click.ParamType[float]):
    """A length of time, as in 10s or 500ms; in seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:  # noqa: ANN401 - click's
        if isinstance(value, float):
            return value
        try:
            return float(str(parse_duration(value)))
        except ValueError as error:
            self.fail(str(error), param, ctx)


DURATION = _Duration()


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

UNREACHABLE = 3
"""The exit code of a command whose device, broker, store or gateway does not answer."""


class Unreachable(click.ClickException):
    """A device, broker, store or gateway does not answer."""

    exit_code = UNREACHABLE


FORMAT = click.option("--format", "style", type=click.Choice(["text", "json"]), default="text", show_default=True)
"""For people, or for other programs."""

REPORT = click.option("--report", type=OUTPUT_FILE, help="Write a closing report (JSON) to this file.")

WITH_STDIN = click.option("--with-stdin", is_flag=True, hidden=True, help="Stop when standard input ends.")
"""For a parent that starts services: they end with it, however it ends."""


def load(file: Path) -> Factory:
    """Return the configuration; prints every problem and exits with 1 where it has any."""
    try:
        return load_factory(file)
    except ConfigurationError as error:
        print_problems(error.problems)
        count = len(error.problems)
        click.echo(f"{file}: {counted(count, 'problem')}", err=True)
        sys.exit(1)


def require_metrics(file: Path, section: str, metrics: MetricsSection) -> None:
    """Exit with 1 where an endpoint is configured and its library is not installed."""
    if metrics.listen is not None and (line := missing_extra()):
        click.echo(f"{file}: {section}.metrics: {line}", err=True)
        sys.exit(1)


def print_problems(problems: Sequence[Problem]) -> None:
    """Print problems, of the same message in many places the first few."""
    shown: Counter[str] = Counter()
    for problem in problems:
        shown[problem.message] += 1
        if shown[problem.message] <= SAME_MESSAGES:
            click.echo(str(problem), err=True)
    for message, count in shown.items():
        if count > SAME_MESSAGES:
            click.echo(f"{count - SAME_MESSAGES:,} more: {message[:LONGEST_MESSAGE]}", err=True)


def machines_of(factory: Factory, pattern: str) -> list[Machine]:
    """Return the machines whose path, or the end of it, matches a glob; exits with 1 where none does."""
    found = [machine for machine in factory.machines if matches(pattern, machine.path)]
    if not found:
        click.echo(f"{factory.file}: no machine matches {pattern!r}", err=True)
        sys.exit(1)
    return found


STOP_SECONDS = 5.0
"""Seconds after which a service that was asked to stop ends in any case: a disk or a library may never answer."""

NOT_REPORTED = 4
"""Exit code of a service that worked, and whose closing report could not be written."""


def serve(
    main: Callable[[asyncio.Event], Awaitable[None]], *, with_stdin: bool = False, bounded: bool = False
) -> None:
    """Run a service until SIGTERM or SIGINT (or the end of standard input) sets its stop event.

    A `bounded` one ends within `STOP_SECONDS` from then, whatever holds it.
    """

    async def body() -> None:
        stop = asyncio.Event()
        deadline = asyncio.create_task(_end_in_time(stop), name="deadline") if bounded else None
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
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
    timer = threading.Timer(STOP_SECONDS - 0.2, _end_now)
    timer.daemon = True
    timer.start()


def _end_now() -> None:
    text = f"lineside: not stopped within {STOP_SECONDS:g} s; a disk or a device does not answer. Ending now\n"
    os.write(sys.stderr.fileno(), text.encode())
    os._exit(1)


def _at_end(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    if not os.read(sys.stdin.fileno(), 4096):
        loop.remove_reader(sys.stdin.fileno())
        stop.set()


def _fail(*errors: BaseException) -> None:
    for error in errors:
        click.echo(f"lineside: {error}", err=True)
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
        click.echo(f"lineside: the report {file} can't be written: {error.strerror}", err=True)
        sys.exit(NOT_REPORTED)


def size_of(factory: Factory) -> str:
    """Return how large a factory is, in machines and points."""
    points = sum(len(machine.points) for machine in factory.machines)
    return f"{counted(len(factory.machines), 'machine')}, {counted(points, 'point')}"
