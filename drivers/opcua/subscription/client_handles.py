"""Assigns the changes of monitored items to points by client handles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping, Sequence

    from asyncua import ua

    from drivers.opcua.codec.data_changes import DataChanges
    from drivers.opcua.settings import OpcUaGroup, Time


class ClientHandles:
    """The points of a session by client handles, which are numbers from 0."""

    def __init__(self) -> None:
        self._groups: list[OpcUaGroup] = []
        self._positions: list[int] = []
        self._nodes: list[ua.NodeId] = []
        self._modes: list[Time] = []
        self._others: dict[int, list[int]] = {}  # handle -> further points of the same structure or array
        self._special: set[int] = set()  # handles of points that need a conversion, or have their own clock
        self._fresh: set[int] = set()  # handles without a first value
        self._created: dict[int, int] = {}  # times by the gateway's clock, until the first value
        self._read: dict[int, tuple[int, Any, int]] = {}  # first values that were read, and are sent once more

    def add(self, group: OpcUaGroup, position: int, node: ua.NodeId) -> int:
        """Add a point; return the client handle of its item."""
        handle = len(self._groups)
        source = group.sources[position]
        self._groups.append(group)
        self._positions.append(position)
        self._nodes.append(node)
        self._modes.append(source.time or group.connection.time)
        if not source.whole:
            self._others[handle] = []
        if not source.plain or self._modes[handle] is not self._modes[0]:
            self._special.add(handle)
        self._fresh.add(handle)
        return handle

    def share(self, handle: int, position: int) -> None:
        """Add a further point of the group to an item: another part of the same value."""
        self._others[handle].append(position)

    def forget(self, handles: Iterable[int]) -> None:
        """Stop waiting for first values of items that were not created."""
        self._fresh.difference_update(handles)

    @property
    def size(self) -> int:
        """The number of handles so far."""
        return len(self._groups)

    def note_created(self, start: int, asked: int) -> None:
        """Record the time at which the items of the handles from `start` on were requested.

        The first value of an item was valid then, unless its source time is later. A time after the response would be
        too late: meanwhile the value may have changed, and that change comes behind it.
        """
        self._created |= {handle: asked for handle in range(start, self.size) if handle in self._fresh}

    def first_values(self, start: int, values: DataChanges, nodes: Sequence[ua.NodeId]) -> DataChanges:
        """Assign values that were read of nodes to the handles from `start` on, whose items are newer."""
        places = {node: place for place, node in enumerate(nodes)}
        handles = [handle for handle in range(start, self.size) if handle in self._fresh]
        chosen = values.chosen([places[self._nodes[handle]] for handle in handles])
        chosen.handles = handles
        return chosen

    def expect_again(self, changes: DataChanges) -> None:
        """Leave out values that were read from the first messages of their items, if they did not change since."""
        self._read |= dict(zip(changes.handles, _readings(changes), strict=True))

    def handles(self, groups: Container[OpcUaGroup]) -> list[int]:
        """Return the handles of groups of points."""
        return [handle for handle, group in enumerate(self._groups) if group in groups]

    def node(self, handle: int) -> ua.NodeId:
        """Return the node of an item."""
        return self._nodes[handle]

    def positions(self, handle: int) -> Sequence[int]:
        """Return the positions in its group of an item's points."""
        first = self._positions[handle]
        return (first, *self._others[handle]) if handle in self._others else (first,)

    def of(self, handle: int) -> list[tuple[OpcUaGroup, int]]:
        """Return the points of an item."""
        return [(self._groups[handle], position) for position in self.positions(handle)]

    def _ours(self, changes: DataChanges) -> DataChanges:
        """Return the changes without those of unknown handles, and without values that were already read."""
        known = len(self._groups)
        if max(changes.handles, default=-1) >= known:
            changes = changes.chosen([place for place, handle in enumerate(changes.handles) if handle < known])
        if self._read and not self._read.keys().isdisjoint(changes.handles):
            news = enumerate(zip(changes.handles, _readings(changes), strict=True))
            changes = changes.chosen([place for place, (handle, one) in news if self._read.pop(handle, None) != one])
        return changes


def _readings(changes: DataChanges) -> Iterable[tuple[int, Any, int]]:
    """Return the source time, value and status of each change."""
    return zip(changes.source_ticks, changes.values, changes.statuses, strict=True)


def carried_over(
    latest: Mapping[OpcUaGroup, Mapping[int, int]], removed: Iterable[OpcUaGroup], group: OpcUaGroup
) -> dict[int, int]:
    """Return the newest delivered times of a new group's points, from the groups that it replaces.

    A value that was delivered in an old group is then not new in this group.
    """
    delivered = {
        (old.machine, old.names[position], old.sources[position]): time
        for old in removed
        for position, time in latest[old].items()
    }
    names = zip(group.names, group.sources, strict=True)
    known = (delivered.get((group.machine, name, source)) for name, source in names)
    return {position: time for position, time in enumerate(known) if time is not None}
