"""Points of type `json` whose value is composed of other points: those that are parts of the same structure or array.

A simulated server serves the parts; a gateway reads the whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from drivers.base import ValueType
from drivers.opcua.settings import OpcUaSource
from simulators.machines.plant import raw_value

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from drivers.base import Value
    from gateway.settings.point import Point


def parts_of(points: Iterable[Point]) -> dict[str, list[Point]]:
    """Return the parts of each composed point, by its name."""
    by_node: dict[object, list[Point]] = {}
    for point in points:
        if isinstance(point.source, OpcUaSource):
            by_node.setdefault(point.source.node, []).append(point)
    found = {}
    for sharing in by_node.values():
        for point in sharing:
            if point.type is ValueType.JSON and (parts := [other for other in sharing if _is_part(other, point)]):
                found[point.name] = parts
    return found


def _is_part(other: Point, whole: Point) -> bool:
    """Return True if a point is a field or an element of the value that another point has as a whole."""
    inner, outer = other.source, whole.source
    if not isinstance(inner, OpcUaSource) or not isinstance(outer, OpcUaSource) or other.type is ValueType.JSON:
        return False
    if outer.element is not None or inner.field[: len(outer.field)] != outer.field:
        return False
    return len(inner.field) > len(outer.field) or inner.element is not None


def composed_text(whole: Point, parts: Iterable[Point], values: Mapping[str, Value | None]) -> str | None:
    """Return the JSON text of a composed point; None if a part has no value."""
    raw: list[tuple[tuple[str, ...], int | None, Value]] = []
    for part in parts:
        value, source = values[part.name], part.source
        if value is None or not isinstance(source, OpcUaSource):
            return None
        number = raw_value(part, value)
        held = float(number) if part.type is ValueType.FLOAT and isinstance(number, int) else number
        raw.append((source.field, source.element, held))
    start = whole.source.field if isinstance(whole.source, OpcUaSource) else ()
    return orjson.dumps(_content(raw, start)).decode()


def _content(raw: list[tuple[tuple[str, ...], int | None, Value]], at: tuple[str, ...]) -> Any:  # noqa: ANN401 - as JSON
    names = dict.fromkeys(field[len(at)] for field, _, _ in raw if field[: len(at)] == at and len(field) > len(at))
    if names:
        return {name: _content(raw, (*at, name)) for name in names}
    here = [(element, value) for field, element, value in raw if field == at]
    if all(element is None for element, _ in here):
        return here[0][1]
    elements: list[Value] = [type(here[0][1])()] * (1 + max(element or 0 for element, _ in here))
    for element, value in here:
        elements[element or 0] = value
    return elements
