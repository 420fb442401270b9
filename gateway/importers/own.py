"""Our own table of points: what `lineside export-points` writes, and people write by hand.

A row is a point of a machine. Cells are written as in YAML (`[0, 30]`, `{0: off}`); cells of text are as they are.
"""

from __future__ import annotations

from types import UnionType
from typing import TYPE_CHECKING, Any, get_args, get_origin

import drivers
from gateway.importers.base import Format
from gateway.importers.found import Found, Import, Options, Row, free_name
from gateway.importers.table import Line, write_table
from gateway.settings.document import read_text
from gateway.settings.point import Point
from gateway.settings.problems import unknown
from gateway.settings.serialize import dump, least

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic import BaseModel

    from drivers.base import Protocol
    from gateway.importers.content import Content
    from gateway.settings.factory import Factory, Machine

PLACE = ("area", "line", "machine", "template", "protocol", "connection", "point")
"""The columns that say whose point it is."""


def export(factory: Factory) -> str:
    """Return the points of all machines as CSV, each with the keys that it needs."""
    return write_table(*points_of(factory))


def points_of(factory: Factory) -> tuple[list[str], list[dict[str, str]]]:
    """Return the points of all machines as columns and rows, each with the keys that it needs."""
    protocols = {machine.protocol.name: machine.protocol for machine in factory.machines}
    columns = [*PLACE, *_keys(protocols.values())]
    rows = [row for machine in factory.machines for row in _rows(machine)]
    used = {column for row in rows for column in row}
    return [column for column in columns if column in used], rows


def _rows(machine: Machine) -> Iterable[dict[str, str]]:
    connection = machine.written["connection"]
    place = {
        "area": machine.path.area,
        "line": machine.path.line,
        "machine": machine.path.machine,
        "template": machine.template,
        "protocol": machine.protocol.name,
        "connection": connection if isinstance(connection, str) else dump(connection, flow=True),
    }
    text = _text_keys(machine.protocol)
    for point in machine.points:
        keys = {key: str(value) if key in text else _cell(value) for key, value in least(point).items()}
        yield place | {"point": point.name} | keys


def _cell(value: Any) -> str:  # noqa: ANN401 - any key's value
    return dump(value, flow=True)


def _keys(protocols: Iterable[Protocol]) -> list[str]:
    own = [key for key in Point.model_fields if key not in {"name", "source"}]
    theirs = [key for protocol in protocols for key in protocol.source.model_fields]
    return [*dict.fromkeys(theirs), *own]


def _text_keys(protocol: Protocol) -> set[str]:
    """Return the keys whose cells are text as it is: those of text, and where a point is on its device."""
    needed = {key for key, field in protocol.source.model_fields.items() if field.is_required()}
    return needed | _strings(protocol.source) | _strings(Point)


def _strings(model: type[BaseModel]) -> set[str]:
    fields = {key: field.annotation for key, field in model.model_fields.items()}
    return {
        key
        for key, kind in fields.items()
        if kind is str or (get_origin(kind) is UnionType and str in get_args(kind))
    }


def read(content: Content, options: Options) -> Import:
    """Return the machines of a table with our columns. Raises `ValueError` where it has not those it needs."""
    table = content.table
    for column in ("machine", "point"):
        if column not in table.columns:
            raise ValueError(unknown("column", column, table.columns).replace("unknown column", "there is no column"))
    found = Import()
    known = [*PLACE, *_keys(drivers.usable())]
    for column in table.columns:
        if column and column not in known:
            found.note(1, column, unknown("column", column, known))
    machines: dict[tuple[str, str], Found] = {}
    for line in table.lines:
        name = (line.get("line") or options.line, line.get("machine"))
        if name not in machines:
            machine = _machine(line, name, options, found)
            if machine is None:
                continue
            machines[name] = machine
        _point(machines[name], line, found)
    found.machines = list(machines.values())
    return found


def _machine(line: Line, name: tuple[str, str], options: Options, found: Import) -> Found | None:
    written = line.cells.get("connection") or options.connection
    try:
        connection = read_text(written) if written.lstrip().startswith("{") else written
    except ValueError as error:
        found.note(line.line, name[1], str(error))
        return None
    url = str(connection["url"] if isinstance(connection, dict) and "url" in connection else connection)
    protocol = line.get("protocol") or _protocol_of(url)
    if not name[1] or not written or protocol not in {kind.name for kind in drivers.usable()}:
        lacks = "machine" if not name[1] else "connection" if not written else "protocol"
        found.note(line.line, name[1] or "a row", f"its {lacks} is missing, or unknown; it is left out")
        return None
    template = free_name(line.get("template") or name[1])
    return Found(name[1], template, protocol, connection, line.get("area") or options.area, name[0], line.line)


def _protocol_of(url: str) -> str:
    scheme = url.partition(":")[0]
    return next((kind.name for kind in drivers.usable() if scheme in kind.connection.schemes), "")


def _point(machine: Found, line: Line, found: Import) -> None:
    protocol = drivers.protocol(machine.protocol)
    text, known = _text_keys(protocol), set(_keys([protocol]))
    keys: dict[str, Any] = {}
    for column, cell in line.cells.items():
        if column in PLACE or column not in known:
            continue
        try:
            keys[column] = cell if column in text else read_text(cell)
        except ValueError as error:
            found.note(line.line, f"{machine.machine}/{line.get('point')}", f"{column}: {error}")
    found.add(machine, line.get("point"), Row(line.line, keys))


def _recognise(content: Content) -> bool:
    return {"machine", "point"}.issubset(content.table.columns)


FORMAT = Format("points", "table of points (CSV, xlsx), as `lineside export-points` writes it", _recognise, read)
