"""Nodes of an explored server as a tree, with the details of variables."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from asyncua import ua

from drivers.base import PointMetadata

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drivers.base import Fault, Value
    from drivers.opcua.browse.companion_names import Qualified

OBJECTS = ua.NodeId(ua.Int32(ua.ObjectIds.ObjectsFolder))


@dataclass(slots=True)
class Details:
    """Details of a variable. `rank` and `dimensions` are those of Part 3, 5.6.2.

    `type`   name of the data type
    `value`  as received, see `Changes`; `shown` and `fault` are the value and fault of its reading
    `about`  metadata of the server; `unit` is the server's own text of the unit
    """

    data_type: ua.NodeId
    type: str
    rank: int
    dimensions: list[int]
    value: object
    shown: Value | None
    fault: Fault | None
    about: PointMetadata = field(default_factory=PointMetadata)
    unit: str = ""


@dataclass(slots=True, eq=False)
class BrowsedNode:
    """A node. `kinds` is its type, then its supertypes; `note` gives the reason why nothing below it is shown."""

    id: ua.NodeId
    name: ua.QualifiedName
    above: BrowsedNode | None = field(default=None, repr=False)
    display: str = ""
    variable: bool = False
    is_property: bool = False
    kinds: tuple[Qualified, ...] = ()
    below: list[BrowsedNode] = field(default_factory=list, repr=False)
    telling: dict[str, ua.NodeId] = field(default_factory=dict)
    note: str = ""
    details: Details | None = None

    @property
    def way(self) -> list[BrowsedNode]:
        """Return the nodes from below the topmost node down to this node."""
        above = self.above
        return [] if above is None else [*above.way, self]

    @property
    def top(self) -> BrowsedNode:
        """Return the topmost node: the Objects folder, or another node if the path to it is not known."""
        return self if self.above is None else self.above.top

    @property
    def is_objects(self) -> bool:
        """Return whether this is the Objects folder."""
        return self.id == OBJECTS

    @property
    def path(self) -> str:
        """Return the browse names of the path, as in `Press/Drum/Speed`."""
        return "/".join(one.name.Name or one.display for one in self.way)

    def all(self) -> Iterator[BrowsedNode]:
        """Yield this node and all nodes below it, parents first."""
        waiting = [self]
        while waiting:
            one = waiting.pop()
            yield one
            waiting += reversed(one.below)
