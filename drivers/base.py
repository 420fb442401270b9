"""What every driver promises and what it hands over. Nothing of the gateway is imported here.

Errors, named by what the caller does next:

    DriverError
    ├── NotConnected    reconnect
    ├── ReadFailed      this scan only: its points are bad, the next scan is tried in time
    ├── WriteFailed     tell who asked for it
    └── Misconfigured   this machine only: nothing will help but another configuration
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import PurePath
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from types import TracebackType

Value = bool | int | float | str
"""What a point can be worth. Which of the four is declared per point and never changes."""


class ValueType(StrEnum):
    """The declared type of a point's value."""

    BOOL = "bool"
    INT = "int"
    FLOAT = "float"
    STRING = "string"


class Quality(StrEnum):
    """How far a value can be trusted. Good readings carry no fault."""

    GOOD = "good"
    UNCERTAIN = "uncertain"
    BAD = "bad"


class Reason(StrEnum):
    """Why a reading is not good: one list for all protocols."""

    NOT_CONNECTED = "not_connected"  # there is no connection to the device
    NO_RESPONSE = "no_response"  # the device was asked and stayed silent
    REFUSED = "refused"  # the device answered that it will not
    NOT_FOUND = "not_found"  # the device does not have this point
    DEVICE_FAULT = "device_fault"  # the device says that its sensor or itself is broken
    BAD_ANSWER = "bad_answer"  # the answer breaks the protocol
    NOT_AVAILABLE = "not_available"  # the device says that it has no value
    NOT_A_NUMBER = "not_a_number"  # NaN or infinity where a number belongs
    TYPE_MISMATCH = "type_mismatch"  # a value of another type than declared
    OVERFLOW = "overflow"  # a value that the declared type can't hold, or lost in a full queue
    OUT_OF_RANGE = "out_of_range"  # outside the range that the point declares
    STALE = "stale"  # the device says that the value is old
    CLOCK = "clock"  # the time is not to be trusted: a clock is not set, or wrong
    OTHER = "other"  # only the protocol's own code says more


@dataclass(frozen=True, slots=True)
class Fault:
    """Why one reading is not good.

    `code` is the protocol's own word for it, such as `exception 2` or `0x80350000 BadAttributeIdInvalid`.
    """

    quality: Quality
    reason: Reason
    code: str = ""


def bad(reason: Reason, code: str = "") -> Fault:
    """Return the fault of a reading that has no value."""
    return Fault(Quality.BAD, reason, code)


_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_duration(written: object) -> object:
    """Turn `500ms`, `10s`, `5m`, `1h` or `7d` into seconds."""
    if isinstance(written, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(us|ms|s|m|h|d)\s*", written)
        if not match:
            raise ValueError(f"{written!r} is no duration; write a number and us, ms, s, m, h or d, as in '500ms'")
        return float(match[1]) * _SECONDS[match[2]]
    return written


def _seconds(written: object) -> object:
    if isinstance(written, str) and re.fullmatch(r"\d+(?:\.\d+)?", written):
        return float(written)
    return parse_duration(written)


Seconds = Annotated[float, BeforeValidator(_seconds)]
"""A length of time in a connection's options: `0.5` is seconds, `500ms` the same; in a URL both are text."""


class Settings(BaseModel):
    """The base of what a user writes: strict, frozen, numbers are finite, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


def as_written(value: Any) -> Any:  # noqa: ANN401 - any settings' value
    """Return a value of settings as plain data, as a user writes it; secrets stay names."""
    if isinstance(value, BaseModel):
        return {key: as_written(getattr(value, key)) for key in type(value).model_fields}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return str(value)
    if isinstance(value, tuple | list):
        return [as_written(item) for item in value]
    if isinstance(value, dict):
        return {key: as_written(item) for key, item in value.items()}
    return str(value) if isinstance(value, str | PurePath) else value


class Source(Settings):
    """Where a driver finds one point on its device. Each protocol has its own fields."""

    @classmethod
    def fitting(cls, defaults: dict[str, Any], written: dict[str, Any]) -> dict[str, Any]:
        """Return those of a template's defaults that make sense under the keys written for one point."""
        del written
        return defaults

    @classmethod
    def expand(cls, name: str, keys: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Return the points, by name, that one of a template stands for: itself, or the elements of an array."""
        return {name: keys}

    def written(self) -> dict[str, Any]:
        """Return the keys, as a user writes them, that make this source again; defaults are left out."""
        keys = ((key, getattr(self, key), field.default) for key, field in type(self).model_fields.items())
        return {key: as_written(value) for key, value, default in keys if value != default}

    @property
    def value_type(self) -> ValueType | None:
        """The type that the raw value has by itself, None where only the device knows."""
        return None

    @property
    def fits_int64(self) -> bool:
        """Whether whole numbers from here always fit 64 bits with a sign; else each is checked."""
        return False

    @property
    def limits(self) -> tuple[int, int] | None:
        """The lowest and the highest whole number that can stand here, None where the source doesn't know."""
        return None

    @property
    def pushed(self) -> bool:
        """Whether the device sends this point by itself instead of being asked."""
        return False

    @property
    def events(self) -> bool:
        """Whether this is no quantity with a value at any time, but what happens: each reading is an event."""
        return False


class Connection(Settings):
    """How one machine is reached. Each protocol has its own fields."""

    schemes: ClassVar[tuple[str, ...]] = ()
    of_url: ClassVar[tuple[str, ...]] = ()  # fields that the URL says, which are no options beside it

    @classmethod
    def from_url(cls, url: str, options: dict[str, Any]) -> Self:
        """Build from a URL and the options beside it.

        Raises `ValueError` (pydantic's `ValidationError` is one) where either is wrong.
        """
        raise NotImplementedError

    def anywhere(self) -> Connection:
        """Return this without where it is: over connections that are equal here, the same points cost the same."""
        return self

    def shared(self) -> Connection:
        """Return this without what is one machine's own, such as a unit id.

        Machines whose connections are equal here share one driver, so one connection to the device.
        """
        return self


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """The points of one machine that are taken together, at one rate.

    `every` is in seconds: the period of polling, or the publishing interval of what is pushed. `deadbands` are by how
    much raw numbers must change to be worth sending, 0 for any change; a device that can hold back less may do so,
    since the gateway looks at each value itself. Empty where there are none. `events` says that the
    points are what happens, and not what is.
    """

    machine: str
    connection: Connection
    names: tuple[str, ...]
    sources: tuple[Source, ...]
    every: float
    pushed: bool = False
    deadbands: tuple[float, ...] = ()
    events: bool = False

    def deadband(self, position: int) -> float:
        """Return the deadband of one point."""
        return self.deadbands[position] if self.deadbands else 0.0


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

    async def describe(self, group: Group) -> Sequence[About]:  # noqa: ARG002 - of those that can
        """Ask the device what it says of a group's points by itself; nothing at all where it says nothing.

        Raises `NotConnected` or `ReadFailed`.
        """
        return ()

    def counts(self) -> Mapping[str, int]:
        """Return what happened on the connection since the start, by name: answers that came too late, say."""
        return {}

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
    later one's place in the sources, the other's, and what is odd.
    """

    name: str
    connection: type[Connection]
    source: type[Source]
    driver: Callable[[Connection, Sequence[Group], Callable[[], int]], Driver]
    cost: Callable[[Group], Cost]
    check: Callable[[Connection, Sequence[Source]], Iterable[tuple[int, str]]] = _nothing_to_check
    doubts: Callable[[Sequence[Source]], Iterable[tuple[int, int, str]]] = _nothing_to_doubt
