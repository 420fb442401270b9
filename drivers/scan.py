"""Groups of points, their scans, and the metadata and warnings of a device."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic

from drivers.quality import ValueType
from drivers.settings import ConnectionT_co, SourceT_co

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from drivers.quality import Fault, Value


# no slots: a frozen generic class with slots can't be called as `Group[A, B](...)` in Python 3.11
@dataclass(frozen=True, eq=False)
class Group(Generic[ConnectionT_co, SourceT_co]):
    """The points of one machine that are read together, at one rate.

    Compared by identity: a group that a new configuration does not change stays the same object.

    `machine`    the machine's path, `enterprise/site/area/line/machine`
    `connection` the machine's own connection, including its unit id
    `names`      of the points; `sources` are their addresses on the device, in the same order
    `every`      seconds: the polling period, or the publishing interval of a pushed group
    `pushed`     whether the device sends the points without a request; such a group is never polled
    `deadbands`  the change of each raw number below which it is not sent, 0 for any change; a driver may ignore them,
                 since the gateway compares each value itself. Empty if no point has a deadband
    `percents`   the same in percent of a range that only the device knows
    `types`      the declared types of the points; empty if no point has the type `json`, whose values the driver
                 returns as JSON text, or as numbers that the gateway converts
    `repeats`    seconds after which a driver that delivers only changes delivers a reading again, 0 for never; it
                 does so only while it knows that the value is the same. Empty if no point asks for it
    `events`     whether the points are events, which have no value between two of them
    `search`     whether the sources describe a search for points that only the device knows; such a group is never
                 read, see `Driver.search`
    `phase`      seconds from a full period of the wall clock to a scan of the group; None if the gateway may choose
    """

    machine: str
    connection: ConnectionT_co
    names: tuple[str, ...]
    sources: tuple[SourceT_co, ...]
    every: float
    pushed: bool = False
    deadbands: tuple[float, ...] = ()
    percents: tuple[float, ...] = ()
    types: tuple[ValueType, ...] = ()
    repeats: tuple[float, ...] = ()
    events: bool = False
    search: bool = False
    phase: float | None = None

    def deadband(self, position: int) -> float:
        """Return the deadband of one point."""
        return self.deadbands[position] if self.deadbands else 0.0

    def percent(self, position: int) -> float:
        """Return the deadband of one point in percent of the range that the device knows, 0 if it has none."""
        return self.percents[position] if self.percents else 0.0

    def is_json(self, position: int) -> bool:
        """Return True if the value of one point is to be JSON text."""
        return bool(self.types) and self.types[position] is ValueType.JSON

    def repeat(self, position: int) -> float:
        """Return the seconds after which an unchanged reading of a point is delivered again, 0 for never."""
        return self.repeats[position] if self.repeats else 0.0


@dataclass(slots=True)
class Scan:
    """The readings of one group that were acquired together, as columns.

    `time`    of acquisition: microseconds since the epoch, UTC, by the driver's clock
    `values`  one raw value per reading, before scale and offset; None if its fault is bad. A scan of events without
              any says, once for each driver, that the device has reported all active alarms of the group
    `faults`  by position in `values`, only for readings that are not good
    `points`  positions in the group, one per reading; None for the whole group in its order. For a part that comes
              again and again a driver may give the same tuple: then the steps look nothing up for it
    `times`   one time per reading if they differ (a subscription), else None
    `late`    whether the readings were missed and later read from the device's history; their times are not changed
    `same`    whether this is a scan of the whole group without faults, and its values are those of the scan that the
              driver delivered before it; a driver that does not know says False. The values are there all the same
    """

    group: Group
    time: int
    values: list[Value | None]
    faults: dict[int, Fault] = field(default_factory=dict)
    points: Sequence[int] | None = None
    times: list[int] | None = None
    late: bool = False
    same: bool = False

    @classmethod
    def failed(cls, group: Group, time: int, fault: Fault) -> Scan:
        """Return a scan of the whole group in which every point has the same fault and no value."""
        size = len(group.names)
        return cls(group, time, [None] * size, dict.fromkeys(range(size), fault))


@dataclass(frozen=True, slots=True)
class PointMetadata:
    """Metadata of one point as its device reports it; empty fields are unknown.

    `unit` is a UCUM code and `range` the lowest and highest value, both of the raw value; `labels` are the names of
    the numbers of a state. `revised` are parameters of the acquisition that the device has changed, by name, with
    times in seconds: `sampling`, `publishing`, `queue`.
    """

    unit: str = ""
    range: tuple[float, float] | None = None
    labels: Mapping[int, str] = field(default_factory=dict)
    description: str = ""
    revised: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DeviceWarning:
    """A request that a device did not grant as asked, such as a sampling interval, and the points that it concerns.

    Logged once. The readings of these points are good.
    """

    machine: str
    points: tuple[str, ...]
    text: str


@dataclass(frozen=True, slots=True)
class DiscoveredPoint:
    """A point that a search found on a device.

    `name` follows the name of the search, `type` is that of the raw value, `keys` are the source as a user writes it.
    """

    name: str
    type: ValueType
    keys: Mapping[str, Any]
