"""What a server says of its variables by itself: range, unit, names of numbers, description.

Range and unit are properties of analog items (Part 8, 5.3.2), names those of enumerations (Part 3, 5.8.3) and of
discrete items (Part 8, 5.3.3).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from asyncua import ua

from drivers.base import About
from drivers.opcua.session import BROWSE
from drivers.opcua.types import Types
from drivers.opcua.units import ucum

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from drivers.opcua.session import Session

_TELLING = ("EURange", "EngineeringUnits", "EnumStrings", "EnumValues")
"""Properties, of namespace 0, that say something of values."""

_MORE = 20
"""Answers in parts that are followed for one request to browse."""

_RESULT = ua.UInt32(ua.BrowseResultMask.BrowseName)


async def about(session: Session, nodes: Sequence[ua.NodeId]) -> list[About]:
    """Return what the server says of variables. Raises what a session's requests raise."""
    data_types = (await session.read(nodes, ua.AttributeIds.DataType)).values
    descriptions = (await session.read(nodes, ua.AttributeIds.Description)).values
    types = Types()
    asked = {one for one in data_types if isinstance(one, ua.NodeId) and not one.is_null()}
    await types.learn(session, asked)
    enumerations = [one for one in asked if types.is_enumeration(one)]
    told = await _told(session, [*nodes, *enumerations])
    named = {
        data_type: types.labels.get(data_type) or _labels(properties)
        for data_type, properties in zip(enumerations, told[len(nodes) :], strict=True)
    }
    found = []
    for properties, data_type, description in zip(told[: len(nodes)], data_types, descriptions, strict=True):
        unit = properties.get("EngineeringUnits")
        labels = _labels(properties) or (named.get(data_type, {}) if isinstance(data_type, ua.NodeId) else {})
        text = description.Text if isinstance(description, ua.LocalizedText) else None
        found.append(
            About(
                unit=ucum(unit) if isinstance(unit, ua.EUInformation) else "",
                range=_range(properties.get("EURange")),
                labels=labels,
                description=text or "",
            )
        )
    return found


async def _told(session: Session, nodes: Sequence[ua.NodeId]) -> list[dict[str, Any]]:
    """Return the properties of each node that say something, by name."""
    found: list[dict[str, Any]] = [{} for _ in nodes]
    places: list[tuple[int, str]] = []
    properties: list[ua.NodeId] = []
    for place, references in enumerate(await _properties(session, nodes)):
        for one in references:
            name = one.BrowseName
            if name.NamespaceIndex == 0 and name.Name in _TELLING:
                places.append((place, name.Name))
                properties.append(ua.NodeId(one.NodeId.Identifier, one.NodeId.NamespaceIndex, one.NodeId.NodeIdType))
    answers = await session.read(properties)
    for (place, name), value, status in zip(places, answers.values, answers.statuses, strict=True):
        if status >> 30 == 0:
            found[place][name] = value
    return found


async def _properties(session: Session, nodes: Sequence[ua.NodeId]) -> list[list[ua.ReferenceDescription]]:
    """Browse to the properties of nodes (Part 4, 5.9.2), however many answers that takes."""

    async def send(part: Sequence[ua.NodeId]) -> Sequence[list[ua.ReferenceDescription]]:
        results = await session.client.uaclient.browse(
            ua.BrowseParameters(NodesToBrowse=[_properties_of(one) for one in part])
        )
        found = [list(result.References or ()) for result in results]
        rest = {place: result.ContinuationPoint for place, result in enumerate(results) if result.ContinuationPoint}
        for _ in range(_MORE):
            if not rest:
                break
            more = await session.client.uaclient.browse_next(
                ua.BrowseNextParameters(ReleaseContinuationPoints=False, ContinuationPoints=list(rest.values()))
            )
            for place, result in zip(list(rest), more, strict=True):
                found[place] += result.References or ()
                rest[place] = result.ContinuationPoint
            rest = {place: point for place, point in rest.items() if point}
        return found

    return await session.in_parts(BROWSE, nodes, send)


def _properties_of(node: ua.NodeId) -> ua.BrowseDescription:
    return ua.BrowseDescription(
        NodeId=node,
        BrowseDirection=ua.BrowseDirection.Forward,
        ReferenceTypeId=ua.NodeId(ua.Int32(ua.ObjectIds.HasProperty)),
        IncludeSubtypes=True,
        NodeClassMask=ua.UInt32(ua.NodeClass.Variable),
        ResultMask=_RESULT,
    )


def _range(told: object) -> tuple[float, float] | None:
    """Return the lowest and highest value; None where a server has not set them, which is 0 to 0 as a rule."""
    if not isinstance(told, ua.Range) or not (math.isfinite(told.Low) and math.isfinite(told.High)):
        return None
    return (told.Low, told.High) if told.Low < told.High else None


def _labels(properties: Mapping[str, Any]) -> dict[int, str]:
    """Return the names of numbers: of each by its value, or of all from 0 on."""
    values, strings = properties.get("EnumValues"), properties.get("EnumStrings")
    if isinstance(values, list):
        return {one.Value: one.DisplayName.Text or "" for one in values if isinstance(one, ua.EnumValueType)}
    if isinstance(strings, list):
        return {number: one.Text or "" for number, one in enumerate(strings) if isinstance(one, ua.LocalizedText)}
    return {}
