"""The result of browsing an OPC UA server."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from drivers.opcua.browse.nodes import BrowsedNode
    from drivers.opcua.codec.data_types import DataTypes


class BrowseResult(NamedTuple):
    """The start node, the chosen variables in the order of the tree, and the data types.

    `url` is the server's, `uris` are its namespaces; `cut` says that there is more than was looked at,
    and `every` that all variables were chosen.
    """

    url: str
    start: BrowsedNode
    chosen: list[BrowsedNode]
    types: DataTypes
    uris: list[str]
    cut: bool
    every: bool
