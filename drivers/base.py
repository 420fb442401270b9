"""The driver contract: the methods, errors and data of every driver. It imports nothing of the gateway.

Errors, named after the caller's next action:

    DriverError
    ├── NotConnected    reconnect
    ├── ReadFailed      mark the points of this scan as bad; read the next scan when it is due
    ├── WriteFailed     report to the caller of the write
    └── Misconfigured   this machine only: only another configuration helps

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
    File,
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
    from drivers.trace import Tracer

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
    "File",
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
"""The version of this contract; it increases when drivers of the version before would not work."""


class DriverError(Exception):
    """The base of a driver's errors."""

    def __init__(self, message: str, fault: Fault) -> None:
        super().__init__(message)
        self.fault = fault


class NotConnected(DriverError):
    """There is no connection, or it is lost: connect again."""

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message, bad(Reason.NOT_CONNECTED, code))


class ReadFailed(DriverError):
    """This scan could not be read; the connection is still open."""


class WriteFailed(DriverError):
    """A value was not written, or the result is unknown; the connection is still open."""


class Misconfigured(DriverError):
    """The device can't be read as configured; another attempt would fail too."""

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message, bad(Reason.NOT_FOUND, code))


class Driver(ABC, Generic[ConnectionT, SourceT]):
    """One connection to one device, which may serve the groups of several machines.

    A driver reads, and reports failures. It may repeat a request within the time of a scan, and never waits beyond
    its scan. It never backs off and never logs an outage: the gateway's device worker connects again, backs off, and
    logs each change of state once.

    Order of calls: `connect`, then any of the others, then `close`. After `NotConnected` from any method the gateway
    calls `close`, and then `connect` of the same driver. After `close` only `connect` and `close` are called; `read`
    and `receive` of a closed driver raise `NotConnected`.

    Concurrency: all methods run in one event loop. Each polled group has its own task, so `read` is called for
    several groups at the same time, never twice at the same time for one group, nor while `start_read` reads it.
    `receive`, `describe`, `search`, `write` and `regroup` may each run at the same time. `connect` and `close` run
    alone. A driver whose device accepts one request at a time needs its own lock.

    Cancellation: every method may be cancelled at every await, and the driver must be usable or closable after it.

    Unexpected exceptions: an exception other than `DriverError` is a fault of the driver. The gateway logs its
    traceback once, marks the device's points as bad with the reason `driver_fault`, closes this driver, and makes
    another driver after a pause; it continues to read other devices. A failure of `describe`, `search`, `warnings`,
    `counts` or `clock_offset` is logged once, and the gateway continues to read the device.

    Faults: a failure of one point is a fault of that point in the scan, not an exception.
    """

    def __init__(
        self,
        connection: ConnectionT,
        groups: Sequence[Group[ConnectionT, SourceT]],
        clock: Callable[[], int],
    ) -> None:
        """Prepare to read `groups` without I/O. `clock` returns unique microseconds since the epoch, UTC.

        Runs in its own thread, since it may import the protocol's library.
        """
        self.connection = connection
        self.groups = tuple(groups)
        self.clock = clock

    @abstractmethod
    async def connect(self) -> None:
        """Open the connection, and start the subscriptions.

        Raises `NotConnected` if the device can't be reached or refuses the connection, `Misconfigured` if the
        configuration can't work with this device.
        """

    async def read(self, group: Group[ConnectionT, SourceT]) -> Scan:
        """Read all points of one polled group in one scan.

        A driver whose points are all pushed does not need it. Raises `NotConnected` or `ReadFailed`.
        """
        raise Misconfigured(f"{group.machine}: {type(self).__name__} can't poll")

    def start_read(
        self, group: Group[ConnectionT, SourceT], done: Callable[[Scan], None], stopped: Callable[[], None]
    ) -> bool:
        """Start a scan that needs no task, and return True; return False if this scan needs `read`.

        For drivers that know what to send and what comes back, as the scan of a device that answers well: a task, a
        future and a timer for each scan cost more than reading it. Exactly one of the functions is called, after this
        method has returned: `done` with the whole scan, or `stopped`. Then `read` of the same group follows at once,
        and goes on with the scan from the failure. After `close` neither of them is needed.
        """
        del group, done, stopped
        return False

    async def receive(self) -> Scan:
        """Wait for the next scan of a pushed group.

        One task calls it repeatedly if a group is pushed. Raises `NotConnected` when the connection is lost.
        """
        raise Misconfigured(f"{type(self).__name__} pushes nothing")

    async def write(self, group: Group[ConnectionT, SourceT], position: int, value: Value) -> None:  # noqa: ARG002 - of those that can
        """Write one point; `value` is the device's value, before scale and offset.

        Only if the connection allows it. Raises `Misconfigured` if writing is not allowed or not possible,
        `WriteFailed` or `NotConnected`.
        """
        raise Misconfigured(f"{group.machine}: {type(self).__name__} can't write")

    async def regroup(self, groups: Sequence[Group[ConnectionT, SourceT]]) -> bool:  # noqa: ARG002 - of those that can
        """Replace the groups over the open connection, without a gap in the readings of unchanged groups.

        A removed group is not being read when this is called. Returns False if the driver can't do it; the gateway
        then closes it and makes another driver, as it does after `NotConnected` or `Misconfigured`.
        """
        return False

    async def describe(self, group: Group[ConnectionT, SourceT]) -> Sequence[PointMetadata]:  # noqa: ARG002 - of those that can
        """Return the device's metadata of a group's points, in their order; empty if it has none.

        Raises `NotConnected` or `ReadFailed`.
        """
        return ()

    async def search(self, group: Group[ConnectionT, SourceT], position: int) -> Sequence[DiscoveredPoint]:  # noqa: ARG002 - of those that can
        """Search the device for the points that match one source of a group of searches.

        Raises `NotConnected` or `ReadFailed`.
        """
        return ()

    def warnings(self) -> Sequence[DeviceWarning] | None:
        """Return the warnings since the last call; None if this driver has none at any time."""
        return None

    def trace(self, tracer: Tracer) -> bool:  # noqa: ARG002 - of those that can
        """Report every message on the wire to `tracer`, from the next `connect` on; return False if it can't.

        Called before `connect`. A driver that is not traced must not pay for it.
        """
        return False

    def counts(self) -> Mapping[str, int]:
        """Return counters since the start by name, such as requests and time-outs."""
        return {}

    def now(self, group: Group[ConnectionT, SourceT]) -> int:  # noqa: ARG002 - of those whose devices stamp their values
        """Return the present time by the clock that stamps a group's readings: the gateway's or the device's.

        A fault with the time of another clock could appear in the wrong order among the readings.
        """
        return self.clock()

    @property
    def clock_offset(self) -> float | None:
        """Device time minus gateway time in seconds; None if the device's clock is unknown."""
        return None

    @abstractmethod
    async def close(self) -> None:
        """Close the connection if it is open. May be called repeatedly; never raises for a lost connection."""

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class Sampler(Driver[ConnectionT, SourceT]):
    """A driver that also shows the raw values behind its readings. It polls pushed groups too, and only reads."""

    @abstractmethod
    async def sample(self, group: Group[ConnectionT, SourceT]) -> Sample:
        """Read all points of a group once, polled or pushed.

        An event has no reading; an event that can't be subscribed to has a fault. Called for one group at a time.
        Raises `NotConnected` or `ReadFailed`.
        """

    def settled(self, group: Group[ConnectionT, SourceT]) -> bool:  # noqa: ARG002 - of those that learn
        """Return False if another sample of the group may show more, since the driver learns how the device answers.

        `check` then samples again at once, for as long as the device may take.
        """
        return True


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of one scan of a group: requests, bytes on the wire, expected seconds, and a text for each request."""

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
    """A protocol: its name, its settings, and the functions that make its drivers.

    `name`        the name that templates write as `protocol:`
    `connection`  the settings of a connection, with the URL schemes that it accepts
    `source`      the settings of a point
    `driver`      makes a driver of a connection, groups and a clock; see `Driver.__init__`
    `cost`        returns the cost of one scan of a group, for `lineside plan`
    `check`       yields points that can't be read over a connection: the place in the sources, and the reason
    `doubts`      yields pairs of points of one machine that are valid but probably a mistake: the place of the later
                  point in the sources, the place of the other point, and the reason
    `sampler`     makes a driver that shows raw values, for `lineside check`; None if the protocol has none
    `simulator`   the simulator that serves such machines in `lineside simulate`: `modbus`, `opcua`, or empty for
                  none. The settings are then those of that protocol, or classes derived from them
    `explore`     the `lineside` command that shows the points of a device, such as `probe`; empty for none
    `example`     the source of a first point, as YAML, for `lineside init`
    `loggers`     names of the library's loggers to silence, since they repeat the messages of the gateway
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
    contract: int = 1  # not CONTRACT: a driver without a version is for version 1


AnyProtocol = Protocol[Any, Any]
"""A protocol with settings of any type."""
