"""What a machine's points are: published retained by the gateway, and what ingest gives to the stores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from gateway.stores.base import MachineMeta

if TYPE_CHECKING:
    from gateway.settings.factory import Machine
    from gateway.settings.point import Point

VERSION = 1


def encode_meta(machine: Machine) -> bytes:
    """Return the payload of a machine's `meta` topic."""
    return orjson.dumps(
        {
            "v": VERSION,
            "template": machine.template,
            "protocol": machine.protocol.name,
            "points": {point.name: _point(point) for point in machine.points},
        },
        option=orjson.OPT_NON_STR_KEYS,
    )


def _point(point: Point) -> dict[str, Any]:
    told: dict[str, Any] = {"type": point.type, "unit": point.unit, "every": point.every}
    if point.description:
        told["description"] = point.description
    if point.range is not None:
        told["range"] = point.range
    if point.labels:
        told["labels"] = point.labels
    return told


def decode_meta(payload: bytes) -> MachineMeta:
    """Return what stores need of a `meta` payload. Raises `ValueError` for what is none."""
    data = orjson.loads(payload)
    try:
        points = data["points"].items()
        return MachineMeta(
            str(data["template"]),
            {name: str(point["type"]) for name, point in points},
            {name: str(point["unit"]) for name, point in points},
        )
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"no meta: {error!r}") from error


def meta_of(machine: Machine) -> MachineMeta:
    """Return the same from the configuration."""
    return MachineMeta(
        machine.template,
        {point.name: point.type.value for point in machine.points},
        {point.name: point.unit for point in machine.points},
    )
