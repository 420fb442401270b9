"""Metadata of a machine: its type, and the types and units of its points; as it is published, and read back."""

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
    """What is known of a machine beside its readings: its type, and its points' types and units.

    `id` is drawn from these: descriptions that say the same have the same.
    """

    template: str
    types: Mapping[str, str] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    id: str = field(init=False)

    def __post_init__(self) -> None:
        parts = [self.template, sorted(self.types.items()), sorted(self.units.items())]
        object.__setattr__(self, "id", blake2b(orjson.dumps(parts), digest_size=6).hexdigest())


def write_meta(meta: MachineMeta) -> dict[str, Any]:
    """Return metadata as JSON can hold it."""
    points = {name: {"type": kind, "unit": meta.units[name]} for name, kind in meta.types.items()}
    return {"template": meta.template, "points": points}


def read_meta(data: Any) -> MachineMeta:  # noqa: ANN401 - what came over the wire
    """Return metadata from parsed JSON. Raises `ValueError`, `KeyError`, `TypeError` or `AttributeError`."""
    points = data["points"].items()
    template, types = data["template"], {name: point["type"] for name, point in points}
    units = {name: point.get("unit", "") for name, point in points}
    if not template or not all(isinstance(text, str) for text in (template, *units.values())):
        raise ValueError("template and units are text")
    if not _TYPES.issuperset(types.values()):
        raise ValueError(f"a type is one of {', '.join(sorted(_TYPES))}")
    return MachineMeta(template, types, units)


def decode_meta(payload: bytes) -> list[MachineMeta]:
    """Return what stores need of a `meta` payload: what the machine is now, and then what it was earlier.

    Raises `ValueError` for what is none.
    """
    data = orjson.loads(payload)
    try:
        return [read_meta(data), *map(read_meta, data.get("earlier", ()))]
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        raise ValueError(f"no meta: {error!r}") from error
