"""`lineside alarms`: the alarms of a plant, now and before, and commands of operators for them."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import click

from gateway.cli.arguments import MOMENT, span_of, time_text
from gateway.cli.commanding import machine_of, send, sending_options
from gateway.cli.common import CONFIG, DURATION, FORMAT, Unreachable, load, print_json, serve
from gateway.cli.group import DefaultGroup
from gateway.cli.output import echo
from gateway.cli.selection import opened_store
from gateway.common.text import counted
from gateway.model.path import matches
from gateway.model.text import MAX_NAME, check_text
from gateway.settings.alarm_set import ALARMS, CONTENT, Priority

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from pathlib import Path

    from gateway.model.command import Action
    from gateway.settings.factory import Factory
    from gateway.status.alarms import StandingAlarms
    from gateway.stores.tables import TableRow

BEFORE = 7 * 86_400 * 1_000_000
"""Microseconds before a report in which its standing alarms are looked for."""


@click.group(cls=DefaultGroup)
def alarms() -> None:
    """Show the alarms of a plant, acknowledge and shelve them: `lineside alarms factory.yaml`."""


@alarms.command()
@CONFIG
@FORMAT
@click.option("--machine", default="*", help="Machines whose path matches this pattern, such as 'press-*'.")
@click.option("--all", "everything", is_flag=True, help="Those that are shelved, suppressed or out of service, too.")
@click.option("--watch", is_flag=True, help="Show them again and again until Ctrl-C.")
@click.option("--history", is_flag=True, help="The transitions in the store, in place of standing alarms.")
@click.option("--report", is_flag=True, help="The performance of the alarm system, after EEMUA 191 and ISA-18.2.")
@click.option("--last", type=DURATION, help="With --history and --report: how far back from now.  [default: 8h]")
@click.option("--from", "since", type=MOMENT, help="From this time, as 2026-11-24T06:00.")
@click.option("--to", "until", type=MOMENT, help="To before this time.")
@click.option(
    "--limit", type=click.IntRange(1), default=1000, show_default=True, help="Most transitions, the newest."
)
@click.option("--store", "name", help="The store to read.  [default: the first that can be read]")
@click.option("--local", is_flag=True, help="Times in local time, not in UTC.")
def show(
    config: Path, style: str, machine: str, everything: bool, watch: bool, history: bool, report: bool,  # noqa: FBT001 - flags
    last: float | None, since: int | None, until: int | None, limit: int, name: str | None, local: bool,  # noqa: FBT001 - a flag
) -> None:  # fmt: skip
    """Show the standing alarms of CONFIG, the most urgent first; its gateways publish them.

    Exits with 1 if there is any, and with 3 if the broker does not answer.
    """
    if history and report:
        raise click.UsageError("write either --history or --report")
    factory = load(config)
    if history or report:
        span = span_of(last, since, until, 8 * 3600.0)
        _stored(factory, name, machine, style, (span.since, span.until), limit, report=report, local=local)
        return
    shown = _live(factory, machine, style, everything=everything, watch=watch, local=local)
    sys.exit(1 if shown else 0)


def _live(factory: Factory, machine: str, style: str, *, everything: bool, watch: bool, local: bool) -> int:
    """Show the standing alarms; return their number."""
    from gateway.model.alarm_state import ANNUNCIATED  # noqa: PLC0415 - see gateway.cli
    from gateway.model.path import MachinePath  # noqa: PLC0415 - see gateway.cli
    from gateway.status.alarms import NotReachable, alarm_as_dict, follow_alarms  # noqa: PLC0415 - see gateway.cli

    number = 0
    problems: list[str] = []

    def show_them(found: StandingAlarms) -> bool:
        nonlocal number
        chosen = [
            alarm_as_dict(path, one)
            for (path, _), one in found.alarms.items()
            if (everything or one.state in ANNUNCIATED) and matches(machine, MachinePath(*path.split("/")))
        ]
        chosen.sort(key=lambda one: (Priority[one["priority"].upper()], -one["since"]))
        number = len(chosen)
        if style == "json":
            print_json({"alarms": chosen, "ignored_messages": found.ignored})
        else:
            if watch and sys.stdout.isatty():
                click.clear()
            for one in chosen:
                echo(_line(one["since"], one["machine"], one["alarm"], one, local=local))
            echo(f"{counted(number, 'alarm')}" + (f", {found.ignored} invalid messages" * bool(found.ignored)))
        return not watch

    async def main(stop: asyncio.Event) -> None:
        try:
            await follow_alarms(factory, stop, show_them, 2.0)
        except NotReachable as error:
            problems.append(str(error))

    serve(main)
    if problems:
        raise Unreachable(problems[0])
    return number


def _line(at: int, machine: str, alarm: str, content: dict[str, Any], *, local: bool) -> str:
    value = content.get("value")
    shown = "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
    what = content.get("message") or f"{content.get('source') or ''} {shown} {content.get('unit') or ''}".strip()
    who = f" ({content['who']}: {content['reason']})" if content.get("who") else ""
    return (
        f"{time_text(at, local=local)[:19]}  {content['priority'] or '':<8}  {content['state'] or '':<23}  "
        f"{'/'.join(machine.split('/')[2:])}  {alarm}  {what}{who}"
    )


def _stored(
    factory: Factory, name: str | None, machine: str, style: str, span: tuple[int, int], limit: int, *,
    report: bool, local: bool,
) -> None:  # fmt: skip
    """Show the transitions of a span in the store, or their figures."""
    since, until = span[0], min(span[1], time.time_ns() // 1000 + 1)
    pattern = f"{machine}/{ALARMS}"
    with opened_store(factory, name) as (_, store):
        if report:
            from gateway.status.alarm_performance import Performance  # noqa: PLC0415 - see gateway.cli

            performance = Performance(since, until)
            performance.add(store.rows(CONTENT, pattern, since - BEFORE, until))
            _print_report(performance.report(), style, local=local)
            return
        found: list[TableRow] = []
        for row in store.rows(CONTENT, pattern, since, until, newest_first=True):
            if len(found) == limit:
                echo(f"lineside: the newest {counted(limit, 'transition')}; --limit shows more", err=True)
                break
            found.append(row)
    found.reverse()
    if style == "json":
        print_json({"transitions": [{"time": one.time, "machine": str(one.path)} | one.as_dict() for one in found]})
        return
    for one in found:
        cells = one.as_dict()
        echo(_line(one.time, str(one.path), str(cells["alarm"]), cells, local=local))


def _print_report(report: dict[str, Any], style: str, *, local: bool) -> None:
    if style == "json":
        print_json(report)
        return
    echo(
        f"{time_text(report['since'], local=local)[:19]} to {time_text(report['until'], local=local)[:19]}\n"
        f"annunciations             {report['annunciations']}, "
        + ", ".join(f"{name} {number}" for name, number in report["by_priority"].items())
        + f"\nper 10 minutes            {report['average_per_10_min']:g} on average, "
        f"{report['peak_per_10_min']} at most (an operator can handle {report['acceptable_per_10_min']})\n"
        f"time in flood             {report['windows_in_flood_percent']:g} %\n"
        f"standing                  {report['standing']}, of which {len(report['stale'])} for more than 24 h\n"
        f"shelved, out of service   {report['shelved']}, {report['out_of_service']}"
    )
    for key, title in (("top", "most frequent"), ("chattering", "chattering"), ("stale", "stale")):
        if report[key]:
            echo(f"{title}:")
        for one in report[key]:
            number = f"{one['times']:>6}" if "times" in one else time_text(one["since"], local=local)[:19]
            echo(f"  {number}  {'/'.join(one['machine'].split('/')[2:])}  {one['alarm']}")


# -- commands --


def _command_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add the arguments and options that commands for alarms have."""
    reason = click.option("--reason", default="", help="Why, for the journal.")
    arguments = (CONFIG, click.argument("machine"), click.argument("alarm"))
    for part in reversed((*arguments, reason, sending_options)):
        function = part(function)
    return function


def _send(
    action: Action, config: Path, machine: str, alarm: str, options: dict[str, Any], **arguments: float
) -> None:  # fmt: skip
    """Send a command for an alarm; exit with 1 if it is refused, and with 3 without an answer."""
    factory = load(config)
    found = machine_of(factory, machine)
    try:
        check_text(alarm, MAX_NAME)
    except ValueError as error:
        raise click.UsageError(f"the name of the alarm {error}") from None
    if not alarm:
        raise click.UsageError("the name of the alarm is empty")
    from gateway.model.command import Order, Target  # noqa: PLC0415 - see gateway.cli

    target = Target(machine=str(found.path), alarm=alarm)
    send(factory, Order(action, target, arguments, options["reason"]), options, {"alarm": alarm})


@alarms.command()
@_command_options
def acknowledge(config: Path, machine: str, alarm: str, **options: Any) -> None:  # noqa: ANN401 - options
    """Acknowledge ALARM of MACHINE: a person has seen it."""
    _send("acknowledge", config, machine, alarm, options)


@alarms.command()
@_command_options
def reset(config: Path, machine: str, alarm: str, **options: Any) -> None:  # noqa: ANN401 - options
    """Reset ALARM of MACHINE, which is latched and acknowledged."""
    _send("reset", config, machine, alarm, options)


@alarms.command()
@_command_options
@click.option("--for", "seconds", type=DURATION, default="1h", show_default=True, help="The time of the shelf.")
def shelve(config: Path, machine: str, alarm: str, seconds: float, **options: Any) -> None:  # noqa: ANN401 - options
    """Shelve ALARM of MACHINE for a time."""
    _send("shelve", config, machine, alarm, options, seconds=seconds)


@alarms.command()
@_command_options
def unshelve(config: Path, machine: str, alarm: str, **options: Any) -> None:  # noqa: ANN401 - options
    """End the shelf of ALARM of MACHINE."""
    _send("unshelve", config, machine, alarm, options)


@alarms.command("out-of-service")
@_command_options
def out_of_service(config: Path, machine: str, alarm: str, **options: Any) -> None:  # noqa: ANN401 - options
    """Take ALARM of MACHINE out of service, until it is returned."""
    _send("remove_from_service", config, machine, alarm, options)


@alarms.command("return-to-service")
@_command_options
def return_to_service(config: Path, machine: str, alarm: str, **options: Any) -> None:  # noqa: ANN401 - options
    """Return ALARM of MACHINE to service."""
    _send("return_to_service", config, machine, alarm, options)
