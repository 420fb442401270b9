"""Tags of EMQX Neuron as a workbook, which its page exports and imports: the groups of one device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.importers.base import Format
from gateway.importers.found import Found, Import, Options, Row, free_name, with_unit, without_defaults
from gateway.importers.neuron_tags import ATTRIBUTES, Node, Tag, point
from gateway.importers.table import table_of

if TYPE_CHECKING:
    from gateway.importers.content import Content
    from gateway.importers.table import Line, Table

COLUMNS = frozenset({"group", "name", "address", "attribute", "type"})
"""The columns by which a table is known as one of these, in small letters."""


def read(content: Content, options: Options) -> Import:
    """Return the machines of a workbook: one for each unit. Raises `ValueError` without the connection."""
    if not options.connection:
        raise ValueError("a table of tags names no device; say --connection, as in modbus+tcp://10.20.1.11:502")
    found = Import()
    order = options.order or "ABCD"
    node = Node(options.connection.startswith("opc.tcp"), order, order, int(options.base or 1))
    machines: dict[int | None, Found] = {}
    for rows in content.sheets.values():
        table = table_of(rows)
        if not _is_of_tags(table):
            found.note(rows[0].line, "sheet", "is left out: it has no tags")
            continue
        for written in table.lines:
            line = written._replace(cells={key.strip().lower(): cell for key, cell in written.cells.items()})
            try:
                unit, keys = point(_tag(line), node)
                keys |= _interval(line)
            except ValueError as error:
                found.note(line.line, line.get("name") or "a tag", f"is left out: {error}")
                continue
            if unit not in machines:
                machines[unit] = _machine(unit, options, several=bool(machines), where=line.line)
            found.add(machines[unit], line.get("name"), Row(line.line, keys))
    found.machines = list(machines.values())
    return found


def _tag(line: Line) -> Tag:
    words = line.get("attribute").lower().replace("|", ",").replace("/", ",").split(",")
    attribute = sum({ATTRIBUTES[word.strip()] for word in words if word.strip() in ATTRIBUTES})
    if line.get("attribute").isdecimal():
        attribute = int(line.get("attribute")[:3])
    return Tag(
        line.get("name"), line.get("address"), line.get("type").upper(), attribute, line.get("description"),
        line.get("decimal") or 0, line.get("bias") or 0,
    )  # fmt: skip


def _interval(line: Line) -> dict[str, str]:
    interval = line.get("interval")
    if not interval.isdecimal() or len(interval) > 8 or int(interval) == 0:  # noqa: PLR2004 - a day, in milliseconds
        return {}
    every = f"{int(interval) / 1000:g}s" if int(interval) % 1000 == 0 else f"{interval}ms"
    return without_defaults({"every": every}, every="1s")


def _machine(unit: int | None, options: Options, *, several: bool, where: int | str) -> Found:
    name = options.machine or "machine"
    if unit is None:
        return Found(name, free_name(name), "opcua", options.connection, options.area, options.line, where)
    connection = with_unit(options.connection, unit)
    machine = f"{name}-{unit}" if several else name
    return Found(machine, free_name(name), "modbus", connection, options.area, options.line, where)


def _is_of_tags(table: Table) -> bool:
    return COLUMNS.issubset({column.strip().lower() for column in table.columns})


def _recognise(content: Content) -> bool:
    return any(_is_of_tags(table_of(rows)) for rows in content.sheets.values())


FORMAT = Format("neuron-table", "tags of EMQX Neuron (xlsx, CSV)", _recognise, read)
