"""Result points: the results of a calculation of the gateway about a machine, as events with JSON text."""

from __future__ import annotations

from drivers.base import Source, ValueType
from gateway.settings.point import Point


class Result(Source):
    """The source of a result point. No driver reads it."""

    content: str
    """The kind of its readings: the key of a table in `gateway/stores/tables.py`."""

    @property
    def value_type(self) -> ValueType:
        """Each reading is JSON text."""
        return ValueType.JSON

    @property
    def structured(self) -> bool:
        """Each reading is an object."""
        return True

    @property
    def events(self) -> bool:
        """Each reading is an event."""
        return True


def result_point(name: str, content: str, description: str) -> Point:
    """Return a point for the results of a calculation."""
    source = Result(content=content)
    return Point.model_validate({"name": name, "source": source, "type": ValueType.JSON, "description": description})


def content_of(point: Point) -> str:
    """Return the kind of the readings of a result point; empty for a point that is read or derived."""
    return point.source.content if isinstance(point.source, Result) else ""
