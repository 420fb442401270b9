"""Searches the variables below a node that match the pattern of a point."""

from __future__ import annotations

from fnmatch import fnmatchcase
from itertools import count
from typing import TYPE_CHECKING

from drivers.base import DiscoveredPoint, ReadFailed, Reason, ValueType, bad
from drivers.opcua.browse.browser import Browser
from drivers.opcua.browse.point_candidates import is_structured, offers
from drivers.opcua.browse.point_names import Addresses, snake
from drivers.opcua.browse.start_node import start_at
from drivers.opcua.browse.variable_details import learn

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Sequence

    from drivers.opcua.browse.nodes import BrowsedNode
    from drivers.opcua.codec.data_types import DataTypes
    from drivers.opcua.connection.session import Session
    from drivers.opcua.settings import OpcUaGroup

DEEPEST = 12
"""Maximum number of levels below the node."""

MOST = 20_000
"""Maximum number of nodes that a search reads."""


async def search(session: Session, group: OpcUaGroup, position: int) -> list[DiscoveredPoint]:
    """Return the points of one search, in the order of their paths.

    Raises `ReadFailed` if the node is missing, and `REQUEST_ERRORS`.
    """
    source = group.sources[position]
    settings = group.connection
    try:
        start = await start_at(session, source.node, settings)
    except LookupError as error:
        raise ReadFailed(f"{session.url}: {error}", bad(Reason.NOT_FOUND, str(error))) from error
    await Browser(session, DEEPEST, MOST).walk(start)
    level, pattern = len(start.way), source.match or "*"
    chosen = [one for one in start.all() if one.variable and one is not start and _fits(_way(one, level), pattern)]
    types = await learn(session, chosen)
    addresses = Addresses(list(start.all()), session.uris, settings.namespace, by_path=None)
    keys = {key: value for key, value in source.written().items() if key not in {"node", "match"}}
    matches: dict[str, DiscoveredPoint] = {}
    for found, kind in _found(chosen, types, session.uris, json=group.is_json(position)):
        node = addresses.of(found)
        if node is not None:
            name = _name(_way(found, level), matches)
            matches[name] = DiscoveredPoint(name, kind, keys | {"node": str(node)})
    return list(matches.values())


def _found(
    chosen: Sequence[BrowsedNode], types: DataTypes, uris: Sequence[str], *, json: bool
) -> Iterator[tuple[BrowsedNode, ValueType]]:
    """Yield the variables that can be whole points with their types, by path; with `json` structures and arrays."""
    if json:
        for one in sorted(chosen, key=lambda one: one.path):
            if one.details is not None and is_structured(one.details, types):
                yield one, ValueType.JSON
        return
    candidates, _ = offers(chosen, types, uris)
    for point in sorted(candidates, key=lambda one: one.found.path):
        if point.count is None and not point.field:
            yield point.found, point.type


def _way(found: BrowsedNode, level: int) -> list[str]:
    return [one.name.Name or one.display for one in found.way[level:]]


def _fits(way: Sequence[str], pattern: str) -> bool:
    """Return True if a path, or the end of it from a level on, matches a pattern."""
    whole = "/".join(way)
    return fnmatchcase(whole, pattern) or fnmatchcase(whole, f"*/{pattern}")


def _name(way: Sequence[str], taken: Container[str]) -> str:
    """Return a name made of the whole path, so that other nodes below the start don't change it."""
    plain = "_".join(filter(None, map(snake, way))) or "point"
    return next(name for number in count(1) if (name := plain if number == 1 else f"{plain}_{number}") not in taken)
