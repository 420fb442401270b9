"""What every driver promises and what it hands over. Nothing of the gateway is imported here.

Errors, named by what the caller does next:

    DriverError
    ├── NotConnected    reconnect
    ├── ReadFailed      this scan only: its points are bad, the next scan is tried in time
    ├── WriteFailed     tell who asked for it
    └── Misconfigured   this machine only: nothing will help but another configuration
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from drivers.quality import FUTURE, Fault, Quality, Reason, Value, ValueType, bad
from drivers.scan import About, Group, Match, Remark, Scan
from drivers.settings import Connection, Flag, Seconds, Settings, Source, as_written, parse_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from types import TracebackType

    from drivers.sampling import Sampler

__all__ = [
    "FUTURE",
    "About",
    "Connection",
    "Cost",
    "Driver",
    "DriverError",
    "Fault",
    "Flag",
    "Group",
    "Match",
    "Misconfigured",
    "NotConnected",
    "Protocol",
    "Quality",
    "ReadFailed",
    "Reason",
    "Remark",
    "Scan",
    "Seconds",
    "Settings",
    "Source",
    "Value",
    "ValueType",
    "WriteFailed",
    "as_written",
    "bad",
    "parse_duration",
]


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
    """A value could not be written, or nobody knows whether it was; the connection stands."""


class Misconfigured(DriverError):
    """The device can't be read as configured, and trying again won't change that."""

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message, bad(Reason.NOT_FOUND, code))


class Driver(ABC):
    """One connection to one device, which may serve the groups of several machines.

    A driver reads, and says what went wrong. It never retries, never waits but for the device, and
    never logs an outage: the gateway's runner connects again, backs off, and logs each change once.
    After `NotConnected` from any method the driver is connected again with `connect`.
    A fault of one point is no exception: it is that point's fault in the scan.
    """

    def __init__(self, connection: Connection, groups: Sequence[Group], clock: Callable[[], int]) -> None:
        """Prepare to read `groups`; no I/O. `clock` returns microseconds since the epoch, UTC."""
        self.connection = connection
        self.groups = tuple(groups)
        self.clock = clock

    @abstractmethod
    async def connect(self) -> None:
        """Open the connection, and start what is pushed.

        Raises `NotConnected` where the device can't be reached or turns us away, `Misconfigured`
        where the configuration can't work with this device.
        """

    @abstractmethod
    async def read(self, group: Group) -> Scan:
        """Ask the device for all points of one polled group.

        Raises `NotConnected` or `ReadFailed`.
        """

    async def receive(self) -> Scan:
        """Wait for the next scan of what is pushed.

        Raises `NotConnected` when the connection is lost. Only called where a group is pushed.
        """
        raise Misconfigured(f"{type(self).__name__} pushes nothing")

    async def write(self, group: Group, position: int, value: Value) -> None:  # noqa: ARG002 - of those that can
        """Write one point, given as the device holds it (before scale and offset).

        Off unless the connection allows it. Raises `Misconfigured` where it is not allowed or not possible,
        `WriteFailed` or `NotConnected`.
        """
        raise Misconfigured(f"{group.machine}: {type(self).__name__} can't write")

    async def regroup(self, groups: Sequence[Group]) -> bool:  # noqa: ARG002 - of those that can
        """Read these groups from now on, while the connection stands; those that stay are read on undisturbed.

        Nobody reads a group that is left out any more when this is called. Returns whether it could: a driver that
        can't is closed, and another made. Raises `NotConnected` or `Misconfigured`, after which another is made too.
        """
        return False

    async def describe(self, group: Group) -> Sequence[About]:  # noqa: ARG002 - of those that can
        """Ask the device what it says of a group's points by itself; nothing at all where it says nothing.

        Raises `NotConnected` or `ReadFailed`.
        """
        return ()

    async def search(self, group: Group, position: int) -> Sequence[Match]:  # noqa: ARG002 - of those that can
        """Ask the device for the points that one point of a group of searches stands for.

        Raises `NotConnected` or `ReadFailed`.
        """
        return ()

    def remarks(self) -> Sequence[Remark] | None:
        """Return what the device was found to do otherwise than asked to, since the last call; None for never."""
        return None

    def counts(self) -> Mapping[str, int]:
        """Return what happened on the connection since the start, by name: answers that came too late, say."""
        return {}

    def now(self, group: Group) -> int:  # noqa: ARG002 - of those whose devices stamp their values
        """Return the time of what is so now, by the clock that a group's readings are of: ours, or the device's.

        Of two clocks, a fault could seem to come after readings that it came before.
        """
        return self.clock()

    @property
    def ahead(self) -> float | None:
        """The seconds by which the device's clock is ahead of ours, None where it does not tell its time."""
        return None

    @abstractmethod
    async def close(self) -> None:
        """Close the connection if it is open; never raises for a connection that is already gone."""

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


@dataclass(frozen=True, slots=True)
class Cost:
    """What one scan of a group costs: requests, bytes on the wire, the seconds to expect, and what is asked for."""

    requests: int
    bytes: int
    seconds: float
    details: Sequence[str]


def _nothing_to_check(connection: Connection, sources: Sequence[Source]) -> Iterable[tuple[int, str]]:
    del connection, sources
    return ()


def _nothing_to_doubt(sources: Sequence[Source]) -> Iterable[tuple[int, int, str]]:
    del sources
    return ()


@dataclass(frozen=True, slots=True)
class Protocol:
    """What the gateway needs to know of a protocol: its name, its settings, and how a driver is made.

    `cost` tells what a scan of a group costs; `check` yields what can't be read over a connection, as the place
    in the sources and the reason. `doubts` yields what is allowed and seldom meant about two points of a machine: the
    later one's place in the sources, the other's, and what is odd. `sampler` makes a driver that also tells what
    stands behind its readings, for who checks a machine; None where the protocol has none.
    """

    name: str
    connection: type[Connection]
    source: type[Source]
    driver: Callable[[Connection, Sequence[Group], Callable[[], int]], Driver]
    cost: Callable[[Group], Cost]
    check: Callable[[Connection, Sequence[Source]], Iterable[tuple[int, str]]] = _nothing_to_check
    doubts: Callable[[Sequence[Source]], Iterable[tuple[int, int, str]]] = _nothing_to_doubt
    sampler: Callable[[Connection, Sequence[Group], Callable[[], int]], Sampler] | None = None
