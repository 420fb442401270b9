"""Points, groups and scans for tests of the flow."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from drivers.base import Connection, Group, Scan, Source
from drivers.modbus.address import Address, Table
from drivers.modbus.source import ModbusSource, Raw
from drivers.opcua.node_address import Node
from drivers.opcua.settings import OpcUaSource
from gateway.settings.alarm_set import NO_ALARMS
from gateway.settings.point import Point

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from drivers.base import Fault, Value
    from gateway.settings.factory import Machine


def node(name: str = "p", **keys: Any) -> Point:
    """Return a point of a node, of which only the server knows the type."""
    return _point(name, OpcUaSource(node=Node(None, f"s={name}")), keys)


def register(name: str = "p", raw: str = "uint16", **keys: Any) -> Point:
    """Return a point of a register (or coil, for `bool`), of which the type is known."""
    address = Address(Table.COIL if raw == "bool" else Table.HOLDING, 0)
    return _point(name, ModbusSource(address=address, raw=Raw(raw), length=4 if raw == "string" else None), keys)


def _point(name: str, source: Source, keys: dict[str, Any]) -> Point:
    return Point.model_validate({"name": name, "source": source} | keys)


def group_of(points: Sequence[Point]) -> Group:
    """Return the group of points."""
    names, sources = tuple(point.name for point in points), tuple(point.source for point in points)
    return Group("e/s/a/l/machine", Connection(), names, sources, 1.0)


def whole(group: Group, time: int, *values: Value | None, **faults: Fault) -> Scan:
    """Return a scan of the whole group; faults are given as `p0=...` by their position."""
    return Scan(group, time, list(values), {int(key[1:]): fault for key, fault in faults.items()})


def part(group: Group, *readings: tuple[int, int, Value | None], time: int = 0, **faults: Fault) -> Scan:
    """Return a scan as a server pushes it: of position, time and value; faults by their place, as `p0=...`."""
    places = {int(key[1:]): fault for key, fault in faults.items()}
    positions, times, values = ([reading[i] for reading in readings] for i in range(3))
    return Scan(group, time, list(values), places, positions, times)  # type: ignore[arg-type] # positions and times are


def points_alone(machines: Iterable[Machine]) -> tuple[Machine, ...]:
    """Return machines without the alarms, parts and production of their templates, which no table of points has."""
    return tuple(replace(one, results=(), alarms=NO_ALARMS, operations=(), production=None) for one in machines)
