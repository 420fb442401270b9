"""`lineside trace`: the history of a part, and the parts that a lot went into."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from gateway.cli.arguments import CONFIG_OPTION, split_config, time_text
from gateway.cli.common import FORMAT, SET, load, print_json
from gateway.cli.output import echo
from gateway.cli.selection import opened_store
from gateway.common.text import counted, printable
from gateway.stores.base import StoreError
from gateway.stores.part_history import MOST_LEVELS, history, where_used

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.stores.part_history import OperationRecord, PartValue, Uses


@click.command()
@SET
@click.argument("arguments", metavar="[CONFIG] [SERIAL]", nargs=-1)
@CONFIG_OPTION
@click.option("--where-used", "lot", metavar="LOT", help="Print the parts that a lot, or a part, went into.")
@click.option(
    "--levels", type=click.IntRange(1, MOST_LEVELS), default=MOST_LEVELS, show_default=True,
    help="How many levels to follow, with --where-used.",
)  # fmt: skip
@click.option("--store", "name", help="The store to read, such as sqlite.  [default: the first that can be read]")
@click.option("--local", is_flag=True, help="Times in local time, not in UTC.")
@FORMAT
@click.pass_context
def trace(
    ctx: click.Context, arguments: tuple[str, ...], config: str | None, lot: str | None, levels: int,
    name: str | None, local: bool, style: str,  # noqa: FBT001 - a flag
) -> None:  # fmt: skip
    """Print the way of the part SERIAL through the plant: each operation with results, values and materials.

    CONFIG is the factory's YAML. SERIAL may be the label of a lot, or of a carton: then it is the way of its parts.
    Exits with 1 if nothing is known.
    """
    file, serials = split_config(ctx, arguments, config)
    if lot is not None and serials != ("*",):
        raise click.UsageError("write either SERIAL or --where-used LOT")
    if lot is None and (len(serials) != 1 or serials == ("*",)):
        raise click.UsageError(f"write one serial number, as in {ctx.command_path} {file} GTTBM-01-000042")
    with opened_store(load(file), name) as (_, store):
        try:
            if lot is not None:
                uses = where_used(store.lookup, lot, levels)
                found = bool(uses.found)
                _print_uses(uses, style, local=local)
            else:
                records = history(store.lookup, serials[0])
                found = bool(records)
                _print_history(serials[0], records, style, local=local)
        except StoreError as error:
            raise click.ClickException(str(error)) from None
    if not found:
        echo(f"lineside: nothing is known of {lot if lot is not None else serials[0]}", err=True)
        sys.exit(1)


def _print_history(serial: str, records: list[OperationRecord], style: str, *, local: bool) -> None:
    if style == "json":
        print_json({"serial": serial, "operations": [as_dict(one, local=local) for one in records]})
        return
    for number, one in enumerate(records):
        if number == 0 or records[number - 1].serial != one.serial:
            echo(f"{'' if number == 0 else chr(10)}{printable(one.serial)}")
        echo("\n".join(map(printable, _lines(one, local=local))))


def _lines(one: OperationRecord, *, local: bool) -> Iterator[str]:
    run = f", run {one.run}" if one.run > 1 else ""
    place = f" ({one.place})" if one.place else ""
    yield f"  {one.operation}{run} at {one.path.line}/{one.path.machine}{place}: {one.result or 'no result'}"
    began, ended = (
        "?" if moment is None else time_text(moment, local=local) for moment in (one.began, one.ended)
    )  # fmt: skip
    yield f"    {began} to {ended}{f'  (missing: {one.missing})' if one.missing else ''}"
    facts = [(name, getattr(one, name)) for name in ("lot", "recipe", "tool", "operator")]
    if any(text for _, text in facts):
        yield f"    {', '.join(f'{name} {text}' for name, text in facts if text)}"
    for value in one.values:
        yield f"    {value.name:<28}{_shown(value)}"
    for material in one.materials:
        yield f"    {'material ' + material.name:<28}{material.lot}"


def _shown(value: PartValue) -> str:
    """Return a captured value as text, with the reason where it is missing or uncertain."""
    doubt = f"{value.quality}: {value.reason}{f' ({value.code})' if value.code else ''}" if value.reason else ""
    if value.value is None and value.text is None:
        return doubt
    text = value.text if value.text is not None else f"{value.value:.6g} {value.unit or ''}".rstrip()
    return f"{text}  ({doubt})" if doubt else text


def as_dict(one: OperationRecord, *, local: bool = False) -> dict[str, Any]:
    """Return the work on a part for other programs; docs/parts.md explains the keys."""
    times = {
        name: None if moment is None else time_text(moment, local=local)
        for name, moment in (("began", one.began), ("ended", one.ended))
    }
    facts = {name: getattr(one, name) for name in ("lot", "tool", "recipe", "operator", "missing")}
    return {
        "serial": one.serial, "operation": one.operation, "run": one.run, "machine": str(one.path),
        "place": one.place, **times, "result": one.result, **{name: text for name, text in facts.items() if text},
        "values": [
            {key: cell for key, cell in value._asdict().items() if cell is not None} for value in one.values
        ],
        "materials": [material._asdict() for material in one.materials], "curves": list(one.curves),
    }  # fmt: skip


def _print_uses(uses: Uses, style: str, *, local: bool) -> None:
    if style == "json":
        used = [
            {
                "level": one.level, "serial": one.serial, "material": one.material, "lot": one.lot,
                "operation": one.operation, "machine": str(one.path), "time": time_text(one.time, local=local),
            }
            for one in uses.found
        ]  # fmt: skip
        print_json({"lot": uses.lot, "cut": uses.cut, "uses": used})
        return
    for one in uses.found:
        where = f"{one.operation} at {one.path.line}/{one.path.machine}"
        echo(printable(f"{'  ' * one.level}{one.serial}  {one.material} {one.lot}, {where}"))
    if uses.found:
        parts = len({one.serial for one in uses.found})
        more = "; there are more" if uses.cut else ""
        echo(f"{uses.lot} went into {counted(parts, 'part')}{more}")
