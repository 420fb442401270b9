"""Reads the metadata of variables on a server: range, unit, labels, description.

Range and unit are properties of analog items (Part 8, 5.3.2). Labels are properties of enumerations (Part 3, 5.8.3)
and of discrete items (Part 8, 5.3.3).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from asyncua import ua

from drivers.base import PointMetadata
from drivers.opcua.browse.references import PARTS, local, references
from drivers.opcua.codec.data_types import DataTypes
from drivers.opcua.codec.units import ucum

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from drivers.base import Fault
    from drivers.opcua.connection.session import Session
    from drivers.opcua.settings import OpcUaGroup

_TELLING = ("EURange", "EngineeringUnits", "EnumStrings", "EnumValues")
"""Properties in namespace 0 that describe values."""

_FLOAT_LIMIT = 3.4e38
"""A larger range is a default."""

MOST_PROPERTIES = 1000
"""Maximum number of properties of one variable."""


async def about(session: Session, nodes: Sequence[ua.NodeId], types: DataTypes | None = None) -> list[PointMetadata]:
    """Return the metadata of variables; `types` are the types that are known. Raises `REQUEST_ERRORS`."""
    data_types = (await session.read(nodes, ua.AttributeIds.DataType)).values
    descriptions = (await session.read(nodes, ua.AttributeIds.Description)).values
    types = types or DataTypes()
    asked = {one for one in data_types if isinstance(one, ua.NodeId) and not one.is_null()}
    await types.learn(session, asked, in_dictionaries=False)  # labels of enumerations are in their attributes
    enumerations = [one for one in asked if types.is_enumeration(one)]
    found = await properties_of(session, [*nodes, *enumerations])
    named = {
        data_type: types.labels.get(data_type) or labels_of(properties)
        for data_type, properties in zip(enumerations, found[len(nodes) :], strict=True)
    }
    return [
        about_of(properties, named.get(data_type, {}) if isinstance(data_type, ua.NodeId) else {}, description)
        for properties, data_type, description in zip(found[: len(nodes)], data_types, descriptions, strict=True)
    ]


async def about_points(
    session: Session, group: OpcUaGroup, nodes: Sequence[ua.NodeId | Fault]
) -> list[PointMetadata]:
    """Return the metadata of a group's points at these nodes; empty metadata for fields of structures."""
    sources = group.sources
    there = {
        place: node
        for place, node in enumerate(nodes)
        if isinstance(node, ua.NodeId) and not sources[place].field  # a structure's metadata is not its fields'
    }
    found = dict(zip(there, await about(session, list(there.values())), strict=True))
    return [found.get(place, PointMetadata()) for place in range(len(nodes))]


def about_of(properties: Mapping[str, Any], labels: Mapping[int, str], description: object) -> PointMetadata:
    """Return the metadata of properties, given by name; `labels` are those of the data type."""
    unit = properties.get("EngineeringUnits")
    text = description.Text if isinstance(description, ua.LocalizedText) else None
    return PointMetadata(
        unit=ucum(unit) if isinstance(unit, ua.EUInformation) else "",
        range=_range(properties.get("EURange")),
        labels=labels_of(properties) or labels,
        description=text or "",
    )


async def properties_of(session: Session, nodes: Sequence[ua.NodeId]) -> list[dict[str, Any]]:
    """Return the properties of each node that describe values, by name."""
    found: list[dict[str, Any]] = [{} for _ in nodes]
    places: list[tuple[int, str]] = []
    properties: list[ua.NodeId] = []
    referred = await references(session, nodes, PARTS, ua.NodeClass.Variable, most=MOST_PROPERTIES)
    for place, answer in enumerate(referred):
        for one in answer.found:
            node, name = local(session, one.NodeId), telling(one.BrowseName)
            if node is not None and name:
                places.append((place, name))
                properties.append(node)
    answers = await session.read(properties)
    for (place, name), value, status in zip(places, answers.values, answers.statuses, strict=True):
        if status >> 30 == 0:
            found[place].setdefault(name, value)
    return found


def telling(name: ua.QualifiedName) -> str:
    """Return the name of a property that describes values, and an empty string for other properties.

    The name belongs to namespace 0; some servers put it into their own.
    """
    return name.Name if name.Name in _TELLING else ""


def _range(limits: object) -> tuple[float, float] | None:
    """Return the lowest and highest value; None for a default such as 0 to 0 or the full range of a float."""
    if not isinstance(limits, ua.Range) or not (math.isfinite(limits.Low) and math.isfinite(limits.High)):
        return None
    if max(-limits.Low, limits.High) >= _FLOAT_LIMIT:
        return None
    return (limits.Low, limits.High) if limits.Low < limits.High else None


def labels_of(properties: Mapping[str, Any]) -> dict[int, str]:
    """Return the labels of numbers, from `EnumValues` or, counted from 0, from `EnumStrings`."""
    values, strings = properties.get("EnumValues"), properties.get("EnumStrings")
    if isinstance(values, list):
        return {one.Value: one.DisplayName.Text or "" for one in values if isinstance(one, ua.EnumValueType)}
    if isinstance(strings, list):
        return {number: one.Text or "" for number, one in enumerate(strings) if isinstance(one, ua.LocalizedText)}
    return {}
