"""Settings as a user would write them: for `lineside show`, and for tables of points."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from drivers.base import as_written
from gateway.settings.point import Deadband, natural_type
from gateway.settings.types import parse_duration

if TYPE_CHECKING:
    from gateway.settings.factory import Factory, Machine
    from gateway.settings.point import Point

_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6}

_DURATIONS = frozenset({"every", "at_least_every"})


def duration(seconds: float) -> str:
    """Return a duration as it is written: `500ms`, `1.5s`, `7d`."""
    for unit, size in _UNITS.items():
        text = f"{round(seconds / size)}{unit}"
        if seconds >= size and parse_duration(text) == seconds:
            return text
    return f"{Decimal(repr(seconds)):f}s"


def number(value: float) -> int | float:
    """Return a number as it is written: without a point where it is whole."""
    return int(value) if value.is_integer() and abs(value) < 1e15 else value  # noqa: PLR2004 - digits that a float has


def written_point(point: Point) -> dict[str, Any]:
    """Return the keys that make a point; those that have their default are left out, but for its type and rate."""
    keys: dict[str, Any] = point.source.written() | {"type": str(point.type), "every": duration(point.every)}
    for key, field in type(point).model_fields.items():
        value = getattr(point, key)
        if key in {"name", "source", "type", "every"} or value == field.default:
            continue
        keys[key] = _written(key, value)
    return keys


def least(point: Point) -> dict[str, Any]:
    """Return the keys that make a point, and no more."""
    keys = written_point(point)
    if point.type is natural_type(point.source, point.scale, point.offset):
        del keys["type"]
    if point.every == type(point).model_fields["every"].default:
        del keys["every"]
    return keys


def _written(key: str, value: Any) -> Any:  # noqa: ANN401 - any key's value
    if key in _DURATIONS:
        return duration(value)
    if isinstance(value, Deadband):
        return f"{Decimal(repr(number(value.size))):f}%" if value.percent else number(value.size)
    if isinstance(value, float):
        return number(value)
    if key == "range":
        return [number(bound) for bound in value]
    return as_written(value)


def written_machine(machine: Machine) -> dict[str, Any]:
    """Return all about a machine: where it is, and each of its points."""
    return {
        "machine": str(machine.path),
        "template": machine.template,
        "protocol": machine.protocol.name,
        "connection": machine.written.get("connection", str(machine.connection)),
        "points": {point.name: written_point(point) for point in (*machine.points, *machine.searches)},
    }


def written_factory(factory: Factory) -> dict[str, Any]:
    """Return the sections of a factory without its machines, with the defaults of what is not written."""
    sections = {key: as_written(getattr(factory, key)) for key in ("factory", "gateway", "broker", "ingest")}
    return sections | {"stores": [{entry.kind.name: as_written(entry.settings)} for entry in factory.stores]}
