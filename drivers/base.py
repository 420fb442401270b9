"""The driver contract: what every driver promises and what it hands over. Nothing of the gateway is imported here.

Errors, named by what the caller does next:

    DriverError
    ├── NotConnected    reconnect
    ├── ReadFailed      this scan only: its points are bad, the next scan is tried in time
    ├── WriteFailed     report to whoever asked for the write
    └── Misconfigured   this machine only: nothing will help but another configuration

`docs/drivers.md` explains the contract with a complete driver; `drivers.testing` checks a driver against it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Self

from drivers.quality import FUTURE, Fault, Quality, Reason, Value, ValueType, bad
from drivers.scan import DeviceWarning, DiscoveredPoint, Group, PointMetadata, Scan
from drivers.settings import (
    Connection,
    ConnectionT,
    Flag,
    Seconds,
    Settings,
    Source,
    SourceT,
    as_written,
    parse_duration,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from types import TracebackType

    from drivers.sampling import Sample

__all__ = [
    "CONTRACT",
    "FUTURE",
    "Connection",
    "ConnectionT",
    "Cost",
    "DeviceWarning",
    "DiscoveredPoint",
    "Driver",
    "DriverError",
    "Fault",
    "Flag",
    "Group",
    "Misconfigured",
    "NotConnected",
    "PointMetadata",
    "Protocol",
    "Quality",
    "ReadFailed",
    "Reason",
    "Sampler",
    "Scan",
    "Seconds",
    "Settings",
    "Source",
    "SourceT",
    "Value",
    "ValueType",
    "WriteFailed",
    "as_written",
    "bad",
    "parse_duration",
]

CONTRACT = 1
"""The version of this contract; it grows when a driver written against the version before would not work."""


class DriverError(Exception):
    """The base of what a driver raises."""

    def __init__(self, message: str, fault: Fault) -> None:
        super().__init__(message)
        self.fault = fault


class NotConnected(DriverError):
    """The connection is not there (any more): connect again."""

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message, bad(Reason.NOT_CONNECTED, code))


class ReadFailed(DriverError):
    """This scan could not be taken; the connection stands."""


class WriteFailed(DriverError):
    """A value could not be written, or its fate is unknown; the connection stands."""


class Misconfigured(DriverError):
    """The device can't be read as configured, and trying again won't change that."""

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message, bad(Reason.NOT_FOUND, code))


class Driver(ABC, Generic[ConnectionT, SourceT]):
    """One connection to one device, which may serve the groups of several machines.

    A driver reads, and reports what went wrong. It never retries, never waits but for the device, and never logs an
    outage: the gateway's device worker connects again, backs off, and logs each change of state once.

    Order of calls: `connect`, then any of the others, then `close`. After `NotConnected` from any method the gateway
    calls `close`, and then `connect` of the same driver. After `close` nothing but `connect` and `close` is called;
    a driver that is read all the same raises `NotConnected`.

    Concurrency: all methods run in one event loop. Each polled group has its own task, so `read` is called for
    several groups at the same time, never twice at the same time for one group. `receive`, `describe`, `search`,
    `write` and `regroup` may each run beside them. `connect` and `close` run alone. A driver whose device takes one
    request at a time needs a lock of its own.

    Cancellation: every method may be cancelled at every await, and the driver must be usable or closable after it.

    Unexpected exceptions: what is not a `DriverError` is a fault of the driver. The gateway logs its traceback once,
    marks the device's points as bad with the reason `driver_fault`, closes this driver, and makes a new one after a
    pause; other devices are read on. A failure of `describe`, `search`, `warnings`, `counts` or `clock_offset` is
    logged once, and the device is read on.

    Faults: a failure of one point is not an exception. It is that point's fault in the scan.
    """

    def __init__(
        self,
        connection: ConnectionT,
        groups: Sequence[Group[ConnectionT, SourceT]],
        clock: Callable[[], int],
    ) -> None:
        """Prepare to read `groups`; no I/O. `clock` returns microseconds since the epoch, UTC, never the same twice.

        Runs in a thread of its own, since it may have to import the protocol's library.
        """
        self.connection = connection
        self.groups = tuple(groups)
        self.clock = clock

    @abstractmethod
    async def connect(self) -> None:
        """Open the connection, and start what is pushed.

        Raises `NotConnected` where the device can't be reached or refuses the connection, `Misconfigured`
        where the configuration can't work with this device.
        """

    async def read(self, group: Group[ConnectionT, SourceT]) -> Scan:
        """Ask the device for all points of one polled group, in one scan.

        Not needed by a driver whose points are all pushed. Raises `NotConnected` or `ReadFailed`.
        """
        raise Misconfigured(f"{group.machine}: {type(self).__name__} can't poll")

    async def receive(self) -> Scan:
        """Wait for the next scan of what is pushed.

        Called again and again by one task, where a group is pushed. Raises `NotConnected` when the connection is
        lost.
        """
        raise Misconfigured(f"{type(self).__name__} pushes nothing")

    async def write(self, group: Group[ConnectionT, SourceT], position: int, value: Value) -> None:  # noqa: ARG002 - of those that can
        """Write one point, given as the device holds it (before scale and offset).

        Off unless the connection allows it. Raises `Misconfigured` where it is not allowed or not possible,
        `WriteFailed` or `NotConnected`.
        """
        raise Misconfigured(f"{group.machine}: {type(self).__name__} can't write")

    async def regroup(self, groups: Sequence[Group[ConnectionT, SourceT]]) -> bool:  # noqa: ARG002 - of those that can
        """Read these groups from now on, while the connection stands; those that stay are read on undisturbed.

        A group that is left out is not being read when this is called. Returns whether it could: a driver that
        can't is closed, and another made. Raises `NotConnected` or `Misconfigured`, after which another is made too.
        """
        return False

    async def describe(self, group: Group[ConnectionT, SourceT]) -> Sequence[PointMetadata]:  # noqa: ARG002 - of those that can
        """Ask the device for the metadata of a group's points, in their order; empty where it has none.

        Raises `NotConnected` or `ReadFailed`.
        """
        return ()

    async def search(self, group: Group[ConnectionT, SourceT], position: int) -> Sequence[DiscoveredPoint]:  # noqa: ARG002 - of those that can
        """Search the device for the points that one source of a group of searches stands for.

        Raises `NotConnected` or `ReadFailed`.
        """
        return ()

    def warnings(self) -> Sequence[DeviceWarning] | None:
        """Return what the device did not grant as asked, since the last call; None if there are never warnings."""
        return None

    def counts(self) -> Mapping[str, int]:
        """Return counters of the connection since the start, by name, such as requests and time-outs."""
        return {}

    def now(self, group: Group[ConnectionT, SourceT]) -> int:  # noqa: ARG002 - of those whose devices stamp their values
        """Return the present time by the clock that stamps a group's readings: the gateway's, or the device's.

        A fault stamped by another clock could seem to come after readings that it came before.
        """
        return self.clock()

    @property
    def clock_offset(self) -> float | None:
        """The seconds by which the device's clock is ahead of the gateway's; None where it has no known clock."""
        return None

    @abstractmethod
    async def close(self) -> None:
        """Close the connection if it is open. May be called again; never raises for a connection that is gone."""

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class Sampler(Driver[ConnectionT, SourceT]):
    """A driver that also shows the raw values behind its readings. It polls what is pushed, too, and only reads."""

    @abstractmethod
    async def sample(self, group: Group[ConnectionT, SourceT]) -> Sample:
        """Ask the device once for all points of a group, polled or pushed.

        An event has no reading: one that can't be subscribed to has its fault, all others nothing. Called for one
        group at a time. Raises `NotConnected` or `ReadFailed`.
        """


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of one scan of a group: requests, bytes on the wire, expected seconds, and the requests in words."""

    requests: int
    bytes: int
    seconds: float
    details: Sequence[str]


def _no_problems(connection: Connection, sources: Sequence[Source]) -> Iterable[tuple[int, str]]:
    del connection, sources
    return ()


def _no_doubts(sources: Sequence[Source]) -> Iterable[tuple[int, int, str]]:
    del sources
    return ()


# without slots, as `Group` is
@dataclass(frozen=True)
class Protocol(Generic[ConnectionT, SourceT]):
    """A protocol: its name, its settings, and how a driver is made.

    `name`        what templates write as `protocol:`
    `connection`  the settings of a connection, with the URL schemes that it takes
    `source`      the settings of a point
    `driver`      makes a driver of a connection, groups and a clock; see `Driver.__init__`
    `cost`        returns the cost of one scan of a group, for `lineside plan`
    `check`       yields points that can't be read over a connection: the place in the sources, and the reason
    `doubts`      yields pairs of points of one machine that are allowed and seldom meant: the later one's place in
                  the sources, the other's, and the reason
    `sampler`     makes a driver that shows raw values, for `lineside check`; None where the protocol has none
    `simulator`   the simulator that serves such machines in `lineside simulate`: `modbus`, `opcua`, or empty for
                  none. The settings are then those of that protocol, or classes derived from them
    `explore`     the `lineside` command that shows what a device has, such as `probe`; empty for none
    `example`     the source of a first point, as YAML, for `lineside init`
    `loggers`     names of the library's loggers to silence: they repeat what the gateway logs itself
    `contract`    the version of the contract that the driver is written against
    """

    name: str
    connection: type[ConnectionT]
    source: type[SourceT]
    driver: Callable[
        [ConnectionT, Sequence[Group[ConnectionT, SourceT]], Callable[[], int]], Driver[ConnectionT, SourceT]
    ]
    cost: Callable[[Group[ConnectionT, SourceT]], Cost]
    check: Callable[[ConnectionT, Sequence[SourceT]], Iterable[tuple[int, str]]] = _no_problems
    doubts: Callable[[Sequence[SourceT]], Iterable[tuple[int, int, str]]] = _no_doubts
    sampler: (
        Callable[
            [ConnectionT, Sequence[Group[ConnectionT, SourceT]], Callable[[], int]], Sampler[ConnectionT, SourceT]
        ]
        | None
    ) = None
    simulator: str = ""
    explore: str = ""
    example: str = "{}"
    loggers: tuple[str, ...] = ()
    contract: int = 1  # not CONTRACT: who writes no version wrote against the first


AnyProtocol = Protocol[Any, Any]
"""A protocol whose settings are not known here."""
