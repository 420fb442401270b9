"""Settings in the form that a user writes: YAML 1.2, the keys of a point, and a factory as one plain file."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import yaml

from drivers.base import as_written, parse_duration
from gateway.settings.interpolation import escaped
from gateway.settings.paths import movable_section
from gateway.settings.point import Deadband, natural_type
from gateway.settings.scalars import Number, is_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.settings.factory import Factory, Machine
    from gateway.settings.point import Point

SECTIONS = ("factory", "gateway", "broker", "ingest", "dashboard", "storage")
"""The sections of a factory with one model each."""

MACHINES = ("include", "lines")
"""The keys that machines come from."""

_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6}

_COLUMNS = frozenset({"type", "unit", "every", "description"})
"""Keys of a point that have a column of their own in a table, or no place in a line."""

_DURATIONS = frozenset({"every", "at_least_every"})


class _Dumper(yaml.SafeDumper):
    """Quotes what YAML 1.2 would not read as text: PyYAML quotes what YAML 1.1 would not."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if is_text(text) else "'")


def _number(dumper: yaml.SafeDumper, written: Number) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:int", written.text)


_Dumper.add_representer(str, _text)
_Dumper.add_representer(Number, _number)


def dump(data: Any, *, flow: bool = False) -> str:  # noqa: ANN401 - any plain data
    """Return plain data as YAML; `flow` gives one line, as in a cell of a table."""
    if flow:
        text: str = yaml.dump(
            data, Dumper=_Dumper, allow_unicode=True, default_flow_style=True, width=2**30, sort_keys=False
        )
        return text.removesuffix("\n").removesuffix("\n...")
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=118)


def dump_factory(data: Any) -> str:  # noqa: ANN401 - any plain data
    """Return the data of a factory's file as YAML in which nothing is a variable."""
    return dump(escaped(data))


def duration(seconds: float) -> str:
    """Return a duration as it is written: `500ms`, `1.5s`, `7d`."""
    for unit, size in _UNITS.items():
        text = f"{round(seconds / size)}{unit}"
        if seconds >= size and parse_duration(text) == seconds:
            return text
    return f"{Decimal(repr(seconds)).normalize():f}s"


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


def source_text(keys: Mapping[str, Any]) -> str:
    """Return the keys of a written point in one line, without those that are shown in columns of their own."""
    return ", ".join(f"{key}: {short_text(value)}" for key, value in keys.items() if key not in _COLUMNS)


def short_text(value: Any) -> str:  # noqa: ANN401 - any key's value
    """Return the value of a key in one line."""
    return value if isinstance(value, str) else dump(value, flow=True)


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
        **({} if machine.phase is None else {"phase": duration(machine.phase)}),
        "points": {point.name: written_point(point) for point in (*machine.all_points, *machine.searches)},
    }


def written_factory(factory: Factory) -> dict[str, Any]:
    """Return the sections of a factory without its machines, with the defaults of keys that are not written."""
    sections = {key: as_written(getattr(factory, key)) for key in SECTIONS}
    return sections | {"stores": [{entry.kind.name: as_written(entry.settings)} for entry in factory.stores]}


def unrolled(factory: Factory, machines: Iterable[Machine] | None = None) -> dict[str, Any]:
    """Return the factory's data without ranges, names in braces and includes, with all machines or some of them.

    Variables and values of the command line are in it. Write it with `dump_factory`. It is the same factory in any
    folder, but for the defaults of paths. Values that machines share are shared here; change copies.
    """
    data = {key: value for key, value in factory.written.items() if key not in MACHINES}
    if factory.templates is not None:
        data["templates"] = str(factory.templates.resolve())
    for key in SECTIONS[1:]:
        if key in data:
            data[key] = movable_section(data[key], getattr(factory, key))
    if isinstance(data.get("stores"), list):
        pairs = zip(data["stores"], factory.stores, strict=True)
        data["stores"] = [
            {entry.kind.name: movable_section(written[entry.kind.name], entry.settings)} for written, entry in pairs
        ]
    lines: dict[str, Any] = {}
    for machine in factory.machines if machines is None else machines:
        line = lines.setdefault(machine.path.line, {"area": machine.path.area, "machines": {}})
        line["machines"][machine.path.machine] = dict(machine.written)
    return data | {"lines": lines}
