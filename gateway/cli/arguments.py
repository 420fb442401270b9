"""Arguments of the commands that show readings: the configuration and patterns, and spans of time."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from gateway.cli.common import SET, Command
from gateway.stores.base import END_OF_TIME

if TYPE_CHECKING:
    from collections.abc import Sequence

_EPOCH = datetime.fromtimestamp(0, UTC)


def ARGUMENTS(command: Command) -> Command:  # noqa: N802 - a decorator like the others
    """The factory's YAML, unless `-c` or LINESIDE_CONFIG names it, and patterns."""  # noqa: D401 - of a decorator
    return click.argument("arguments", metavar="[CONFIG] [PATTERN]...", nargs=-1)(SET(command))


CONFIG_OPTION = click.option(
    "--config", "-c", type=click.Path(dir_okay=False), envvar="LINESIDE_CONFIG",
    help="The factory's YAML, in place of CONFIG; or set LINESIDE_CONFIG.",
)  # fmt: skip


def split_config(ctx: click.Context, arguments: Sequence[str], config: str | None) -> tuple[Path, tuple[str, ...]]:
    """Return the configuration and the patterns. Raises `click.UsageError` if there is no configuration."""
    explicit = ctx.get_parameter_source("config") is click.core.ParameterSource.COMMANDLINE
    if arguments and not explicit and _is_config(arguments[0]):
        return Path(arguments[0]), tuple(arguments[1:]) or ("*",)
    if config is None:
        raise click.UsageError(
            f"CONFIG is missing: write {ctx.command_path} factory.yaml 'press-01/*', or set LINESIDE_CONFIG", ctx
        )
    return Path(config), tuple(arguments) or ("*",)


def _is_config(argument: str) -> bool:
    path = Path(argument)
    if path.suffix in {".yaml", ".yml"}:
        return True
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


class _Moment(click.ParamType[int]):
    """A time as ISO 8601 has it, in microseconds since the epoch; without a zone it is local time."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:  # noqa: ANN401 - click's
        if isinstance(value, int):
            return value
        try:
            moment = datetime.fromisoformat(value)
            return (moment.astimezone(UTC) - _EPOCH) // timedelta(microseconds=1)
        except (ValueError, OverflowError):
            self.fail(
                f"{value!r} is not a time; write 2026-11-24T06:00 for local time, "
                "2026-11-24T06:00Z or 2026-11-24T06:00+08:00 with a zone",
                param,
                ctx,
            )


MOMENT = _Moment()


class Span(NamedTuple):
    """From `since` to before `until`, in microseconds since the epoch."""

    since: int
    until: int


def span_of(last: float | None, since: int | None, until: int | None, default: float) -> Span:
    """Return the span that options choose; `last` and `default` are in seconds. Raises `click.UsageError`."""
    if last is not None and (since is not None or until is not None):
        raise click.UsageError("write either --last, or --from and --to")
    if since is None and until is not None:
        raise click.UsageError("--to needs --from")
    if since is None:
        length = default if last is None else last
        since = time.time_ns() // 1000 - round(length * 1e6)
    if until is not None and until <= since:
        raise click.UsageError("--to is not after --from")
    return Span(since, END_OF_TIME if until is None else until)


def time_text(microseconds: int, *, local: bool = False) -> str:
    """Return a time as ISO 8601 with microseconds and its zone; as a number beyond the year 9999."""
    try:
        moment = _EPOCH + timedelta(microseconds=microseconds)
        return moment.astimezone(None if local else UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    except OverflowError:
        return f"{microseconds}us"
