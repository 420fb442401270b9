"""Calculate the load of each connection: the part of its time that polling needs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.acquisition.groups import by_connection, groups_of
from gateway.settings.problems import Problem, Severity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from drivers.base import Connection, Cost, Group, Protocol
    from gateway.settings.factory import Factory, Machine

BUSY = 0.8
"""The part of a connection's time above which periods are at risk."""


@dataclass(slots=True)
class LinkLoad:
    """One connection to one device, the machines behind it, and the cost of their groups."""

    connection: Connection
    protocol: Protocol
    machines: list[Machine] = field(default_factory=list)
    costs: list[tuple[Group, Cost]] = field(default_factory=list)

    @property
    def load(self) -> float:
        """The part of its time that polling needs; above 1 the periods can't be kept."""
        return sum(cost.seconds / group.every for group, cost in self.costs if not group.pushed)

    @property
    def bytes_per_second(self) -> float:
        """Bytes on the wire."""
        return sum(cost.bytes / group.every for group, cost in self.costs)

    @property
    def verdict(self) -> str:
        """A message about the load, with an instruction; empty if the load is low."""
        if self.load > 1:
            return "the periods can't be kept: read less often, fewer points, or over more connections"
        return "the link is busy: a slow answer will cost a cycle" if self.load > BUSY else ""


def link_loads(machines: Iterable[Machine]) -> list[LinkLoad]:
    """Return the connections of machines with their loads, in the order of their first machines."""
    links: list[LinkLoad] = []
    known: dict[tuple[int, Connection], list[Cost]] = {}  # points are shared by the machines of a type
    for connection, behind in by_connection(machines).items():
        links.append(LinkLoad(connection, behind[0].protocol, behind))
        for machine in behind:
            groups = [group for group, _ in groups_of(machine)]
            key = id(machine.points), machine.connection.anywhere()
            if key not in known:
                known[key] = [machine.protocol.cost(group) for group in groups]
            links[-1].costs += zip(groups, known[key], strict=True)
    return links


def load_warnings(factory: Factory) -> Iterator[Problem]:
    """Yield a warning for each connection on which periods can't be kept, or are at risk."""
    for link in link_loads(factory.machines):
        place = link.machines[0].place
        if link.verdict and place is not None:
            path = (*place.path, "connection")
            many = "" if len(link.machines) == 1 else f" of {len(link.machines)} machines"
            message = f"the load{many} is {link.load:.0%}: {link.verdict}"
            mark = place.document.mark(path)
            yield Problem(place.document.file, *mark, ".".join(map(str, path)), message, Severity.WARNING)
