"""What simulated OPC UA variables say of themselves: units, ranges, names of numbers, texts (OPC 10000-8).

All of it is of the value as the device holds it, which for a point with a scale is in another unit, or in none.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from asyncua import ua

if TYPE_CHECKING:
    from asyncua.common.node import Node

    from gateway.settings.point import Point

UNITS = {
    "%": "P1", "/min": "C94", "A": "AMP", "Cel": "CEL", "Hz": "HTZ", "MOhm": "B75", "MPa": "MPA", "N": "NEW",
    "Ohm": "OHM", "Pa": "PAL", "V": "VLT", "W": "WTT", "W.h": "WHR", "bar": "BAR", "cm3": "CMQ", "deg": "DD",
    "g": "GRM", "h": "HUR", "kA": "B22", "kN": "B47", "kN.m": "B48", "kPa": "KPA", "kV": "KVT", "kW": "KWT",
    "kW.h": "KWH", "kg": "KGM", "kg/h": "E93", "kg/m": "KL", "m": "MTR", "m/min": "2X", "m/s": "MTS", "m3": "MTQ",
    "mA": "4K", "min": "MIN", "mm": "MMT", "mm/s": "C16", "ms": "C26", "r/min": "RPM", "s": "SEC", "t": "TNE",
    "um": "4H",
}  # fmt: skip
"""UCUM code -> UN/CEFACT code (Recommendation 20), by which OPC UA numbers units (OPC 10000-8, clause 5.6.3)."""

SIZES = {
    "s": {"ms": -3, "s": 0}, "m": {"um": -6, "mm": -3, "m": 0}, "g": {"g": 0, "kg": 3, "t": 6},
    "N": {"N": 0, "kN": 3}, "Pa": {"Pa": 0, "kPa": 3, "MPa": 6}, "V": {"V": 0, "kV": 3},
    "A": {"mA": -3, "A": 0, "kA": 3}, "W": {"W": 0, "kW": 3}, "W.h": {"W.h": 0, "kW.h": 3},
}  # fmt: skip
"""Units of one quantity, each with its power of ten."""

CEFACT = "http://www.opcfoundation.org/UA/units/un/cefact"


def raw_unit(point: Point) -> str:
    """Return the unit of what the device holds, empty where it has no name: 0.1 mm is no unit, 0.001 s is one."""
    if (point.scale, point.offset) == (1.0, 0.0):
        return point.unit
    power = math.log10(point.scale) if point.scale > 0.0 else math.nan
    if point.offset or not power.is_integer():
        return ""
    for sizes in SIZES.values():
        if point.unit in sizes:
            wanted = sizes[point.unit] + int(power)
            return next((unit for unit, size in sizes.items() if size == wanted), "")
    return ""


def raw_range(point: Point) -> ua.Range | None:
    """Return the range of what the device holds."""
    if point.range is None:
        return None
    low, high = sorted(float(f"{(end - point.offset) / point.scale:.12g}") for end in point.range)
    return ua.Range(low, high)


async def describe(variable: Node, own: int, where: str, point: Point) -> None:
    """Say what a variable's numbers mean; `where` begins the names of its properties' ids in namespace `own`."""
    described: dict[str, Any] = {}
    if unit := raw_unit(point):
        described["EngineeringUnits"] = engineering_unit(unit)
    if (limits := raw_range(point)) is not None:
        described["EURange"] = limits
    if point.labels:
        described["EnumValues"] = [
            ua.EnumValueType(number, ua.LocalizedText(label), ua.LocalizedText(""))
            for number, label in point.labels.items()
        ]
    for key, value in described.items():
        id_ = ua.NodeId(ua.String(f"{where}/{key}"), ua.Int16(own))
        await variable.add_property(id_, ua.QualifiedName(key, ua.UInt16(0)), value)
    if limits is not None and unit:
        await _become(variable, ua.ObjectIds.AnalogItemType)
    if point.description:
        text = ua.LocalizedText(point.description)
        data = ua.DataValue(ua.Variant(text, ua.VariantType.LocalizedText))
        await variable.write_attribute(ua.AttributeIds.Description, data)


async def _become(variable: Node, kind: int) -> None:
    """Give a variable another type."""
    await variable.delete_reference(ua.ObjectIds.BaseDataVariableType, ua.ObjectIds.HasTypeDefinition)
    # the other way round a type would list its instances, and each new one be compared with all of them
    to = ua.NodeId(ua.Int32(kind))
    await variable.add_reference(to, ua.ObjectIds.HasTypeDefinition, bidirectional=False)


def engineering_unit(unit: str) -> ua.EUInformation:
    """Return a unit as OPC UA tells it: by the letters of its UN/CEFACT code, as a number; -1 where it has none."""
    code = UNITS.get(unit)
    number = -1 if code is None else int.from_bytes(code.encode(), "big")
    return ua.EUInformation(CEFACT, number, ua.LocalizedText(unit), ua.LocalizedText(unit))
