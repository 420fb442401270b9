"""`lineside oee`: key figures, losses and stops of a shift, out of the stored rows; and reasons of stops."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from gateway.cli.arguments import MOMENT, time_text
from gateway.cli.commanding import machine_of, send, sending_options
from gateway.cli.common import CONFIG, FORMAT, load, print_json
from gateway.cli.group import DefaultGroup
from gateway.cli.output import echo
from gateway.cli.selection import opened_store
from gateway.common.text import counted
from gateway.model.production import SECOND
from gateway.model.text import MAX_TEXT, clean_text
from gateway.stores.base import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from gateway.model.command import Argument
    from gateway.production.report import LineReport, Report, StopRow, Summary
    from gateway.settings.calendar import Calendar, Shift
    from gateway.settings.factory import Factory, Machine

LOSSES = 6
"""Losses of a machine, and of a line, that are printed."""


@click.group(cls=DefaultGroup)
def oee() -> None:
    """Print OEE, losses and the stops of a shift, and give the reason of a stop: `lineside oee factory.yaml`."""


@oee.command()
@CONFIG
@click.option("--shift", "name", default="last", show_default=True,
              help="last, current, or a day and a shift, as 2026-11-30/early.")  # fmt: skip
@click.option("--line", "wanted", help="Only this line.")
@click.option("--stops", is_flag=True, help="The stops of the shift and their reasons, in place of figures.")
@click.option(
    "--store", "store_name", help="The store to read, such as sqlite.  [default: the first that can be read]"
)
@FORMAT
def show(config: Path, name: str, wanted: str | None, stops: bool, store_name: str | None, style: str) -> None:  # noqa: FBT001 - a flag
    """Print OEE and its factors, losses, the bottleneck, and who stopped whom, for each machine, line and area.

    The figures are those of ISO 22400-2, out of the rows that gateways stored. Time that nobody saw is unknown: it
    makes no figure better or worse.
    """
    from gateway.production.stored import shift_report, stops_of_shift  # noqa: PLC0415 - see gateway.cli
    from gateway.settings.calendar import calendar_of  # noqa: PLC0415 - see gateway.cli

    factory = load(config)
    machines = _machines(factory, wanted)
    calendar, now = calendar_of(factory.calendar), time.time_ns() // 1000
    try:
        shift = calendar.find(name, now)
    except ValueError as error:
        raise click.UsageError(f"--shift: {error}") from None
    with opened_store(factory, store_name) as (_, store):
        try:
            if stops:
                _print_stops(stops_of_shift(store, machines, shift), shift, calendar, style)
                return
            found = shift_report(store, machines, calendar, shift, now)
        except StoreError as error:
            raise click.ClickException(str(error)) from error
    if style == "json":
        print_json(_as_text(found.as_dict()))
    else:
        echo("\n".join(_lines(found, calendar)))


@oee.command()
@CONFIG
@click.argument("machine")
@click.argument("begin", type=MOMENT)
@click.argument("reason")
@click.option("--comment", default="", help="More about it.")
@click.option("--store", "store_name", help="The store that has the stop.  [default: the first that can be read]")
@sending_options
def reason(
    config: Path, machine: str, begin: int, reason: str, comment: str, store_name: str | None,
    **options: Any,  # noqa: ANN401 - options
) -> None:  # fmt: skip
    """Give the REASON of the stop of MACHINE that began at BEGIN, as `lineside oee CONFIG --stops` shows it.

    The gateway keeps it with the records of the machine. A later reason replaces it.
    """
    from gateway.model.command import GIVE_REASON, Order, Target  # noqa: PLC0415 - see gateway.cli
    from gateway.production.stored import stops_that_began  # noqa: PLC0415 - see gateway.cli

    factory = load(config)
    one = machine_of(factory, machine)
    with opened_store(factory, store_name) as (_, store):
        try:
            found = stops_that_began(store, one, begin, begin + SECOND)
        except StoreError as error:
            raise click.ClickException(str(error)) from error
    if not found:
        at = time_text(begin)
        raise click.UsageError(f"no stop of {one.path} began at {at}; lineside oee {config} --stops shows them")
    said: dict[str, Argument] = {
        "begin": found[0].begin, "reason": clean_text(reason, MAX_TEXT), "comment": clean_text(comment, MAX_TEXT)
    }  # fmt: skip
    order = Order(GIVE_REASON, Target(machine=str(one.path)), said)
    send(factory, order, options, {"begin": time_text(found[0].begin)})


def _print_stops(
    found: Sequence[tuple[Machine, StopRow]], shift: Shift, calendar: Calendar, style: str
) -> None:  # fmt: skip
    """Print the stops of a shift; their begins can be copied into `lineside oee reason`."""
    if style == "json":
        rows = [
            {
                "machine": str(machine.path), "begin": time_text(stop.begin), "end": time_text(stop.end),
                "state": stop.state.value, "label": stop.label, "reason": stop.reason, "given": stop.given,
            }
            for machine, stop in found
        ]  # fmt: skip
        print_json({"shift": str(shift), "stops": rows})
        return
    for machine, stop in found:
        place = f"{machine.path.line}/{machine.path.machine}"
        begin = calendar.local(stop.begin).isoformat(timespec="seconds")
        says = stop.reason or (f"({stop.label})" if stop.label else "-")
        length = _span(stop.end - stop.begin)
        echo(f"{begin}  {place:<24}{stop.state.value:<9}{length:>13}  {says:<20}  {stop.given or '-'}".rstrip())
    echo(f"shift {shift}: {counted(len(found), 'stop')}")


def _as_text(content: Any) -> Any:  # noqa: ANN401 - JSON
    """Return a report with times as text."""
    if isinstance(content, dict):
        moments = {"begin", "end", "until"}
        return {key: time_text(one) if key in moments else _as_text(one) for key, one in content.items()}
    return [_as_text(one) for one in content] if isinstance(content, list) else content


def _machines(factory: Factory, wanted: str | None) -> list[Machine]:
    """Return the machines with a production. Raises `click.ClickException` where there are none."""
    found = [one for one in factory.machines if one.production is not None]
    if not found:
        raise click.ClickException(f"{factory.file}: no machine has a section `production`; see docs/production.md")
    lines = sorted({one.path.line for one in found})
    if wanted is not None and wanted not in lines:
        raise click.UsageError(f"--line {wanted!r}: the lines with a production are {', '.join(lines)}")
    return [one for one in found if wanted in {None, one.path.line}]


_HEAD = f"{'':<22}{'OEE':>8}{'avail.':>8}{'perf.':>8}{'quality':>8}{'known':>8}{'good':>9}{'reject':>8}{'plan':>9}"


def _lines(found: Report, calendar: Calendar) -> Iterator[str]:
    begin, until = calendar.local(found.shift.begin), calendar.local(found.until)
    yield f"shift {found.shift}: {begin:%Y-%m-%d %H:%M} to {until:%H:%M} {calendar.section.zone}"
    for line in found.lines:
        yield ""
        yield from _line(line, calendar)
    yield ""
    yield f"areas{_HEAD[5:]}"
    for area in found.areas:
        yield _row(area)


def _line(line: LineReport, calendar: Calendar) -> Iterator[str]:
    title = f"{line.area}/{line.name}"
    yield f"{title:<22}{_HEAD[22:]}" if len(title) < 22 else f"{title}\n{_HEAD}"  # noqa: PLR2004 - the first column
    for machine in line.machines:
        yield _row(machine)
        if corrections := _corrections(machine):
            yield f"    {corrections}"
    yield _row(line.summary)
    if line.summary.losses:
        yield "  losses of the planned time:"
        for loss in line.summary.losses[:LOSSES]:
            what = f"{loss.kind.replace('_', '-')}{f': {loss.reason}' if loss.reason else ''}"
            yield f"    {what:<40}{_span(loss.time):>12}{loss.share:>8.1%}"
    if line.bottleneck:
        why = "waits least" if line.why == "waiting" else "has the longest cycle"
        yield f"  bottleneck: {', '.join(line.bottleneck)} ({why})"
    for cause in line.causes[:LOSSES]:
        others = ", ".join(f"{machine} {what} {_span(time)}" for machine, what, time in cause.affected)
        reason = cause.stop.given or cause.stop.reason or cause.stop.label
        at = calendar.local(cause.stop.begin)
        length = _span(cause.stop.end - cause.stop.begin)
        why = f" ({reason})" if reason else ""
        yield f"  {cause.machine} {cause.stop.state.value} at {at:%H:%M} for {length}{why}: {others}"


def _row(one: Summary) -> str:
    figures = one.figures
    ratios = (figures.oee, figures.availability, figures.performance, figures.quality_ratio)
    cells = "".join(f"{'-' if ratio is None else f'{ratio:.1%}':>8}" for ratio in ratios)
    tally = one.tally
    plan = f"{tally.target:,.0f}" if tally.target else "-"
    return f"  {one.name:<20}{cells}{one.known:>8.1%}{tally.good:>9,}{tally.reject:>8,}{plan:>9}"


def _corrections(one: Summary) -> str:
    tally = one.tally
    texts = {
        f"counter wrapped {tally.wraps} x": tally.wraps, f"counter reset {tally.resets} x": tally.resets,
        f"counter jumped {tally.jumps} x, not counted": tally.jumps,
        f"{tally.unknown_parts:,} parts of unknown time": tally.unknown_parts,
        f"{tally.unplanned_parts:,} parts without a planned cycle time": tally.unplanned_parts,
    }  # fmt: skip
    return "; ".join(text for text, number in texts.items() if number)


def _span(microseconds: int) -> str:
    seconds = round(microseconds / 1e6)
    hours, minutes = seconds // 3600, seconds // 60 % 60
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {seconds % 60:02} s"
