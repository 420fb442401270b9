"""Reads the data types of points: the structures that they use, and the names of their enumeration values."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from asyncua import ua

from drivers.opcua.browse.node_metadata import about
from drivers.opcua.codec.data_types import DataTypes
from drivers.opcua.codec.texts import unwrapped

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from drivers.base import Fault
    from drivers.opcua.codec.structures import Structures
    from drivers.opcua.connection.session import Session
    from drivers.opcua.settings import OpcUaGroup


def needs_types(group: OpcUaGroup, position: int) -> bool:
    """Return True if a point needs the data type of its node."""
    source = group.sources[position]
    return bool(source.field) or source.named or group.is_json(position)


async def structures_of(session: Session, nodes: Mapping[OpcUaGroup, Sequence[ua.NodeId | Fault]]) -> Structures:
    """Return the structures that points use, with the names of the points' enumeration values.

    `nodes` are those of the points of each group. Raises `REQUEST_ERRORS`.
    """
    used = {
        (group, place): node
        for group, found in nodes.items()
        for place, node in enumerate(found)
        if isinstance(node, ua.NodeId) and needs_types(group, place)
    }
    whole = {point: node for point, node in used.items() if point[0].sources[point[1]].named}
    parts = list(used.values())
    types = DataTypes()
    data_types = (await session.read(parts, ua.AttributeIds.DataType)).values
    await types.learn(session, [one for one in data_types if isinstance(one, ua.NodeId) and not one.is_null()])
    abstract = [node for node, kind in zip(parts, data_types, strict=True) if types.is_abstract(kind)]
    if abstract:
        with suppress(ua.UaStatusCodeError, TimeoutError):  # such a point is bad, and all others are read
            await types.learn_encodings(session, _encodings((await session.read(abstract)).values))
    described = await about(session, list(whole.values()), types) if whole else []
    return types.structures({point: one.labels for point, one in zip(whole, described, strict=True)})


def _encodings(values: Iterable[object]) -> Iterator[ua.NodeId]:
    """Yield the ids of the encodings of structures that are not decoded."""
    for value in map(unwrapped, values):
        if isinstance(value, list):
            yield from _encodings(value)
        elif isinstance(value, ua.ExtensionObject) and not value.TypeId.is_null():
            yield value.TypeId
