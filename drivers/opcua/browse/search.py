"""Searches the variables below a node that match the pattern of a point."""

from __future__ import annotations

from fnmatch import fnmatchcase
from itertools import count
from typing import TYPE_CHECKING

from drivers.base import DiscoveredPoint, ReadFailed, Reason, bad
from drivers.opcua.browse.browser import Browser
from drivers.opcua.browse.point_candidates import offers
from drivers.opcua.browse.point_names import Addresses, snake
from drivers.opcua.browse.start_node import start_at
from drivers.opcua.browse.variable_details import learn

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from drivers.opcua.browse.nodes import BrowsedNode
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
    found, _ = offers(chosen, await learn(session, chosen), session.uris)
    addresses = Addresses(list(start.all()), session.uris, settings.namespace, by_path=None)
    keys = {key: value for key, value in source.written().items() if key not in {"node", "match"}}
    matches: dict[str, DiscoveredPoint] = {}
    for point in sorted(found, key=lambda one: one.found.path):
        node = addresses.of(point.found)
        if node is not None and point.count is None and not point.field:
            name = _name(_way(point.found, level), matches)
            matches[name] = DiscoveredPoint(name, point.type, keys | {"node": str(node)})
    return list(matches.values())


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
