"""Reads the details of explored variables: type, value, and metadata."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asyncua import ua

from drivers.opcua.browse.node_metadata import about_of, labels_of, properties_of
from drivers.opcua.browse.nodes import Details
from drivers.opcua.browse.type_hierarchy import names
from drivers.opcua.codec.data_types import DataTypes
from drivers.opcua.codec.texts import Unfit
from drivers.opcua.codec.values import reading
from drivers.opcua.errors import DecodeError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from drivers.opcua.browse.nodes import BrowsedNode
    from drivers.opcua.codec.structures import Structures
    from drivers.opcua.connection.session import Session

NO_TYPE = ua.NodeId()


async def learn(session: Session, variables: Sequence[BrowsedNode]) -> DataTypes:
    """Read the details of variables into them, and return the data types. Raises `REQUEST_ERRORS`."""
    nodes = [one.id for one in variables]
    attributes = ua.AttributeIds
    kinds = (await session.read(nodes, attributes.DataType)).values
    ranks = (await session.read(nodes, attributes.ValueRank)).values
    dimensions = (await session.read(nodes, attributes.ArrayDimensions)).values
    descriptions = (await session.read(nodes, attributes.Description)).values
    values = await session.read(nodes)
    data_types = [one if isinstance(one, ua.NodeId) else NO_TYPE for one in kinds]
    types = DataTypes()
    await types.learn(session, {one for one in data_types if not one.is_null()})
    titles = await _titles(session, data_types)
    labels = await _labels(session, types, titles)
    found = await _property_values(session, variables)
    structures = types.structures()
    for place, one in enumerate(variables):
        data_type, value, status = data_types[place], values.values[place], values.statuses[place]
        shown, fault = reading(value, status, values.variants.get(place))
        if status >> 31:
            value = None  # some servers send the last value, or zero, with a bad status
        unit = found[place].get("EngineeringUnits")
        one.details = Details(
            data_type,
            titles.get(data_type, ""),
            ranks[place] if isinstance(ranks[place], int) else -1,
            dimensions[place] or [],
            decoded(structures, value),
            shown,
            fault,
            about_of(found[place], labels.get(data_type, {}), descriptions[place]),
            (unit.DisplayName.Text or "") if isinstance(unit, ua.EUInformation) else "",
        )
    return types


def decoded(structures: Structures, value: object) -> Any:  # noqa: ANN401 - whatever a server sends
    """Return a value with its structures as mappings; structures that can't be read stay encoded."""
    try:
        return structures.decoded(value)
    except (DecodeError, Unfit):
        return value


async def _titles(session: Session, data_types: Iterable[ua.NodeId]) -> dict[ua.NodeId, str]:
    """Return the browse names of data types."""
    asked = [one for one in set(data_types) if not one.is_null()]
    return {one: name.name for one, name in zip(asked, await names(session, asked), strict=True)}


async def _labels(session: Session, types: DataTypes, asked: Iterable[ua.NodeId]) -> dict[ua.NodeId, dict[int, str]]:
    """Return the labels of enumeration values."""
    enumerations = [one for one in asked if types.is_enumeration(one)]
    found = await properties_of(session, [one for one in enumerations if one not in types.labels])
    rest = iter(found)
    return {one: types.labels[one] if one in types.labels else labels_of(next(rest)) for one in enumerations}


async def _property_values(session: Session, variables: Sequence[BrowsedNode]) -> list[dict[str, Any]]:
    """Return the values of the properties that describe each variable, by name."""
    found: list[dict[str, Any]] = [{} for _ in variables]
    asked = [(place, name, node) for place, one in enumerate(variables) for name, node in one.telling.items()]
    answers = await session.read([node for _, _, node in asked])
    for (place, name, _), value, status in zip(asked, answers.values, answers.statuses, strict=True):
        if status >> 30 == 0:
            found[place][name] = value
    return found
