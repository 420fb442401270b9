"""Properties of simulated OPC UA variables: engineering units, ranges, enumeration texts, descriptions (OPC 10000-8).

They describe the device's value. For a point with a scale that value has another unit, or none.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from asyncua import ua

from drivers.opcua.codec.units import NAMESPACE, UCUM

if TYPE_CHECKING:
    from asyncua.common.node import Node

    from gateway.settings.point import Point

UNIT_IDS: dict[str, int] = {}
"""UCUM unit -> number of its UN/CEFACT code, as OPC UA has it (OPC 10000-8, clause 5.6.3)."""
for _number, _unit in UCUM.items():
    UNIT_IDS.setdefault(_unit, _number)

MAGNITUDES = {
    "s": {"ms": -3, "s": 0}, "m": {"um": -6, "mm": -3, "m": 0}, "g": {"g": 0, "kg": 3, "t": 6},
    "N": {"N": 0, "kN": 3}, "Pa": {"Pa": 0, "kPa": 3, "MPa": 6}, "V": {"V": 0, "kV": 3},
    "A": {"mA": -3, "A": 0, "kA": 3}, "W": {"W": 0, "kW": 3}, "W.h": {"W.h": 0, "kW.h": 3},
}  # fmt: skip
"""Units of one quantity, each with its power of ten."""


def raw_unit(point: Point) -> str:
    """Return the unit of the device's value, empty if UCUM has none: 0.001 s is the unit ms, 0.1 mm has no unit."""
    if (point.scale, point.offset) == (1.0, 0.0):
        return point.unit
    power = math.log10(point.scale) if point.scale > 0.0 else math.nan
    if point.offset or not power.is_integer():
        return ""
    for powers in MAGNITUDES.values():
        if point.unit in powers:
            wanted = powers[point.unit] + int(power)
            return next((unit for unit, found in powers.items() if found == wanted), "")
    return ""


def raw_range(point: Point) -> ua.Range | None:
    """Return the range of the device's value, None if the point has none."""
    if point.range is None:
        return None
    low, high = sorted(float(f"{(end - point.offset) / point.scale:.12g}") for end in point.range)
    return ua.Range(low, high)


async def describe(variable: Node, own: int, where: str, point: Point) -> None:
    """Add the properties of a variable; their ids are `WHERE/NAME` in namespace `own`."""
    properties: dict[str, Any] = {}
    if unit := raw_unit(point):
        properties["EngineeringUnits"] = engineering_unit(unit)
    if (limits := raw_range(point)) is not None:
        properties["EURange"] = limits
    if point.labels:
        properties["EnumValues"] = [
            ua.EnumValueType(number, ua.LocalizedText(label), ua.LocalizedText(""))
            for number, label in point.labels.items()
        ]
    for key, value in properties.items():
        id_ = ua.NodeId(ua.String(f"{where}/{key}"), ua.Int16(own))
        await variable.add_property(id_, ua.QualifiedName(key, ua.UInt16(0)), value)
    if limits is not None and unit:
        await _set_type(variable, ua.ObjectIds.AnalogItemType)
    if point.description:
        text = ua.LocalizedText(point.description)
        data = ua.DataValue(ua.Variant(text, ua.VariantType.LocalizedText))
        await variable.write_attribute(ua.AttributeIds.Description, data)


async def _set_type(variable: Node, type_: int) -> None:
    """Replace the type definition of a variable."""
    await variable.delete_reference(ua.ObjectIds.BaseDataVariableType, ua.ObjectIds.HasTypeDefinition)
    # an inverse reference would make the type list all its instances, and asyncua searches that list for each new one
    to = ua.NodeId(ua.Int32(type_))
    await variable.add_reference(to, ua.ObjectIds.HasTypeDefinition, bidirectional=False)


def engineering_unit(unit: str) -> ua.EUInformation:
    """Return a UCUM unit as EUInformation; its id is -1 if UN/CEFACT has no code for it."""
    return ua.EUInformation(NAMESPACE, UNIT_IDS.get(unit, -1), ua.LocalizedText(unit), ua.LocalizedText(unit))
