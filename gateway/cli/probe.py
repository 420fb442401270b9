"""`lineside probe`: the registers of an unknown Modbus device, and a template of them."""

from __future__ import annotations

import asyncio
import math
import sys
from typing import TYPE_CHECKING, Any

import click

import drivers
from drivers.base import DriverError, NotConnected
from drivers.modbus.address import LAST, Address, Table, parse_address
from drivers.modbus.probe import Area, Probe
from gateway.cli.common import FORMAT, OUTPUT_FILE, UNREACHABLE, Unreachable, print_json
from gateway.cli.output import echo
from gateway.cli.progress import Progress
from gateway.common.text import printable

if TYPE_CHECKING:
    from pathlib import Path

    from drivers.modbus.connection import ModbusConnection
    from drivers.modbus.probe import Meaning, Unit

TEMPLATE_POINTS = 200
"""Points that a template skeleton has at the most: more would be nobody's choice."""


def _numbers(text: str) -> list[int]:
    """Turn `1-10,247` into numbers."""
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        try:
            found += range(int(first), int(last or first) + 1)
        except ValueError:
            raise click.BadParameter(f"{part!r}; write numbers and ranges, as in 1-10,247") from None
    return found


@click.command()
@click.argument("url")
@click.option("--units", default="1-8,255", show_default=True, help="Unit ids to look for.")
@click.option(
    "--to", "last", type=click.IntRange(0, 65535), default=255, show_default=True, help="Last entry to try."
)
@click.option(
    "--from", "first", type=click.IntRange(0, 65535), default=0, show_default=True, help="First entry to try."
)
@click.option(
    "--area", "areas", multiple=True, help="Explore these entries, such as 'holding 40000..40199'; repeatable."
)
@click.option("--ask", "questions", multiple=True, help="Find units by reading this, such as 'input 30'; repeatable.")
@click.option("--register", help="What could this be? Such as 'holding 10'.")
@click.option("--per-second", type=click.FloatRange(0.1, 1000), default=20.0, show_default=True, help="Requests.")
@click.option("--template", type=OUTPUT_FILE, help="Write a template skeleton to this file.")
@FORMAT
def probe(
    url: str,
    units: str,
    first: int,
    last: int,
    areas: tuple[str, ...],
    questions: tuple[str, ...],
    register: str | None,
    per_second: float,
    template: Path | None,
    style: str,
) -> None:
    """Look at the Modbus device at URL, such as modbus+tcp://10.20.1.11:502. It only reads.

    A SunSpec device is recognized at holding registers 0, 40000 and 50000.
    """
    if last < first:
        raise click.UsageError(f"--from {first} is after --to {last}")
    explored = [_area(text) for text in areas] or [Area(table, first, last) for table in Table]
    asked = [_address(text) for text in questions]
    try:
        connection = drivers.parse_connection(drivers.protocol("modbus"), url)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    try:
        if register is not None:
            meanings = asyncio.run(_meanings(connection, register))  # type: ignore[arg-type] # of that protocol
            _print_meanings(register, meanings, style)
            return
        looking = _look(connection, _numbers(units), explored, asked, per_second)  # type: ignore[arg-type] # same
        found = asyncio.run(looking)
    except NotConnected as error:
        raise Unreachable(str(error)) from None
    except (ValueError, DriverError) as error:
        raise click.ClickException(str(error)) from None
    if style == "json":
        print_json({"url": url, "units": [_as_dict(unit) for unit in found]})
    else:
        for unit in found:
            _show(unit)
    if not found:
        echo(f"{url}: none of the units {units} answers", err=True)
        sys.exit(UNREACHABLE)
    if template is not None:
        text, points = skeleton(found[0])
        template.write_text(text, encoding="utf-8")
        text = f"{template}: {points} points of unit {found[0].number}; give them names, types and units"
        echo(text, err=style == "json")


def _address(text: str) -> Address:
    """Return an address of an option. Raises `BadParameter`."""
    try:
        found = parse_address(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    if not isinstance(found, Address) or not isinstance(found.table, Table):
        raise click.BadParameter(f"{text!r} is not an address; write 'holding 10'")
    return found


def _area(text: str) -> Area:
    """Return the entries of an option such as `holding 40000..40199`. Raises `BadParameter`."""
    start, dots, end = text.partition("..")
    address = _address(start)
    try:
        last = int(end) if dots else address.offset
    except ValueError:
        last = -1
    if not address.offset <= last <= LAST:
        raise click.BadParameter(f"{text!r} is not a range of entries; write 'holding 40000..40199', counted from 0")
    return Area(Table(address.table), address.offset, last)


async def _look(
    connection: ModbusConnection,
    units: list[int],
    areas: list[Area],
    questions: list[Address],
    per_second: float,
) -> list[Unit]:
    with Progress(f"connecting to {connection}") as progress:
        return await Probe(connection, per_second, progress.show).look(units, areas, questions)


async def _meanings(connection: ModbusConnection, register: str) -> list[Meaning]:
    """Return the interpretations of a register. Raises `ValueError` for an address of another kind."""
    address = parse_address(register)
    if not isinstance(address, tuple) or address[0].bits:
        raise ValueError("only registers can mean more than one thing: name a holding or an input register")
    found = await Probe(connection, 20.0, lambda _: None).meanings(connection.unit, *address)
    if not found:
        raise ValueError(f"unit {connection.unit} does not give {register}")
    return found


def _print_meanings(register: str, found: list[Meaning], style: str) -> None:
    if style == "json":
        finite = [one._asdict() | {"value": one.value if math.isfinite(one.value) else None} for one in found]
        print_json({"register": register, "meanings": finite})
        return
    for meaning in found:
        echo(_meaning(meaning))


def _meaning(meaning: Meaning) -> str:
    mark = "plausible" if meaning.plausible else ""
    return f"{meaning.raw:<8} {meaning.order:<5} {meaning.value:>24.10g}  {mark}".rstrip()


def _as_dict(unit: Unit) -> dict[str, Any]:
    return {
        "unit": unit.number,
        "identification": unit.identification,
        "tables": {
            str(table): {"ranges": [list(span) for span in spans], "at_once": unit.largest[table]}
            for table, spans in unit.spans.items()
            if spans
        },
        "sunspec": [{"model": model.number, "first": model.first, "length": model.length} for model in unit.sunspec],
        "counts_from_one": unit.counts_from_one,
    }


def _show(unit: Unit) -> None:
    identity = printable(", ".join(f"{key} {value}" for key, value in unit.identification.items()))
    echo(f"unit {unit.number}: {identity or 'does not identify itself'}")
    for table, spans in unit.spans.items():
        if spans:
            ranges = ", ".join(f"{first}..{last}" if last > first else f"{first}" for first, last in spans)
            echo(f"  {table:<9} {ranges}; {unit.largest[table]} at once")
    if unit.sunspec:
        models = ", ".join(f"{model.number} at {model.first}" for model in unit.sunspec)
        echo(f"  SunSpec models: {models}")
    if unit.counts_from_one:
        echo("  its first entries are at 1: its manual probably counts from 1 (base: 1)")


def skeleton(unit: Unit) -> tuple[str, int]:
    """Return a template with a point for each entry that can be read, and how many it has."""
    lines = ["format: 1", "protocol: modbus", f"description: {_description(unit)}", "points:"]
    entries = [
        (table, entry)
        for table, spans in unit.spans.items()
        for span in spans
        for entry in range(span[0], span[1] + 1)
    ]
    for table, entry in entries[:TEMPLATE_POINTS]:
        lines.append(f"  {table}_{entry}: {{address: {table} {entry}}}")
    return "\n".join(lines) + "\n", min(len(entries), TEMPLATE_POINTS)


def _description(unit: Unit) -> str:
    return " ".join(unit.identification.values()).replace(":", " ").replace("#", " ") or "what answered"
