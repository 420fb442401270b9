"""Metadata of a machine: its template, and the types, units and contents of its points."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import orjson

from drivers.base import ValueType

if TYPE_CHECKING:
    from collections.abc import Mapping

VERSION = 1

MAX_POINTS = 20_000
"""Points of one machine."""

_TYPES = {kind.value for kind in ValueType}


@dataclass(frozen=True, slots=True)
class MachineMeta:
    """The template of a machine, and the types and units of its points by name.

    `contents` has only the points whose readings are JSON objects of a known kind, such as `alarm`: stores may put
    them into tables of their own. `id` is a digest of all: equal metadata has the same id.
    """

    template: str
    types: Mapping[str, str] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    contents: Mapping[str, str] = field(default_factory=dict)
    id: str = field(init=False)

    def __post_init__(self) -> None:
        parts: list[Any] = [self.template, sorted(self.types.items()), sorted(self.units.items())]
        if self.contents:  # without any the id is that of older releases: records in a spool name it
            parts.append(sorted(self.contents.items()))
        object.__setattr__(self, "id", blake2b(orjson.dumps(parts), digest_size=6).hexdigest())


def write_meta(meta: MachineMeta) -> dict[str, Any]:
    """Return metadata as JSON can hold it."""
    points = {name: {"type": kind, "unit": meta.units.get(name, "")} for name, kind in meta.types.items()}
    for name, content in meta.contents.items():
        points[name]["content"] = content
    return {"template": meta.template, "points": points}


def read_meta(data: Any) -> MachineMeta:  # noqa: ANN401 - what came over the wire
    """Return metadata from parsed JSON. Raises `ValueError`, `KeyError`, `TypeError` or `AttributeError`."""
    points = data["points"].items()
    template, types = data["template"], {name: point["type"] for name, point in points}
    units = {name: point.get("unit", "") for name, point in points}
    contents = {name: point["content"] for name, point in points if point.get("content")}
    if not template or not all(isinstance(text, str) for text in (template, *units.values(), *contents.values())):
        raise ValueError("template, units and contents are text")
    if not _TYPES.issuperset(types.values()):
        raise ValueError(f"a type is one of {', '.join(sorted(_TYPES))}")
    return MachineMeta(template, types, units, contents)
