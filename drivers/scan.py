"""What is read together, what comes of it, and what a device says of its points by itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from drivers.quality import Fault, Value, ValueType
    from drivers.settings import Connection, Source


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """The points of one machine that are taken together, at one rate.

    `every` is in seconds: the period of polling, or the publishing interval of what is pushed. `deadbands` are by how
    much raw numbers must change to be worth sending, 0 for any change; a device that can hold back less may do so,
    since the gateway looks at each value itself. `percents` are the same in percent of a range that only the device
    knows. Both are empty where there are none. `events` says that the points are what happens, and not what is;
    `search` that they are no points, but stand for some that only the device knows: such a group is never read.
    """

    machine: str
    connection: Connection
    names: tuple[str, ...]
    sources: tuple[Source, ...]
    every: float
    pushed: bool = False
    deadbands: tuple[float, ...] = ()
    percents: tuple[float, ...] = ()
    events: bool = False
    search: bool = False

    def deadband(self, position: int) -> float:
        """Return the deadband of one point."""
        return self.deadbands[position] if self.deadbands else 0.0

    def percent(self, position: int) -> float:
        """Return the deadband of one point in percent of the range that the device knows, 0 where it has none."""
        return self.percents[position] if self.percents else 0.0


@dataclass(slots=True)
class Scan:
    """The readings of one group that were taken together, as columns.

    `values`  one per reading; None where its fault is bad
    `time`    when they were taken: microseconds since the epoch, UTC
    `faults`  by position in `values`, only for readings that are not good
    `points`  positions in the group, one per reading; None where it is the whole group in its order
    `times`   one per reading where they differ (a subscription), else None
    `late`    whether this was missed, and read afterwards: its times are past, and stay as they are
    """

    group: Group
    time: int
    values: list[Value | None]
    faults: dict[int, Fault] = field(default_factory=dict)
    points: Sequence[int] | None = None
    times: list[int] | None = None
    late: bool = False

    @classmethod
    def failed(cls, group: Group, time: int, fault: Fault) -> Scan:
        """Return a scan of the whole group in which every point has the same fault and no value."""
        size = len(group.names)
        return cls(group, time, [None] * size, dict.fromkeys(range(size), fault))


@dataclass(frozen=True, slots=True)
class About:
    """What a device says of one point by itself, empty where it says nothing.

    `unit` is a UCUM code and `range` the lowest and highest value, both of the value as the device holds it;
    `labels` are the names of a state's numbers.
    """

    unit: str = ""
    range: tuple[float, float] | None = None
    labels: Mapping[int, str] = field(default_factory=dict)
    description: str = ""


@dataclass(frozen=True, slots=True)
class Remark:
    """What a device does otherwise than it was asked to, and of which points of a machine: for who runs the gateway.

    The readings of these points are as good as any.
    """

    machine: str
    points: tuple[str, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Match:
    """A point that a search has found: its name, behind that of the search, and its source as a user writes it.

    `type` is what the device holds.
    """

    name: str
    type: ValueType
    keys: Mapping[str, Any]
