"""The stored readings of each point, counted and compared with the values of the machine."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, Protocol

from drivers.base import Quality

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from drivers.base import Value
    from gateway.model.reading import Reading


class Window(NamedTuple):
    """The time that counts, in microseconds since the epoch: from all machines heard, to the first thing stopped."""

    began: int
    ended: int

    @property
    def seconds(self) -> float:
        """How long it is."""
        return (self.ended - self.began) / 1e6


STEADY = 1_500_000
"""The age of a value at most, in microseconds: a step or publishing interval, and its way to the gateway."""

STARTING = 15_000_000
"""Its age at most before the time that counts: while everything starts, a first response is long on its way."""


NONE_LATE: Mapping[str, int] = MappingProxyType({})
"""No machine missed a scan."""


class Truth(Protocol):
    """What machines showed, and when, in microseconds since the epoch."""

    def agrees(self, machine: str, point: str, value: Value, time: int, within: int) -> bool:
        """Return whether a point had this value within so many microseconds of that time."""

    def values_between(self, machine: str, point: str, since: int, until: int) -> list[Value | None]:
        """Return the values that a point had between two times, with the value at the first time."""


@dataclass(slots=True)
class Tally:
    """The stored readings of one point.

    `inside` are those of the time that counts; `faults` are of these, by reason and code, and of the newest one.
    `differ` are good readings with another value than the machine had; `odd` is the first of them, as text.
    """

    stored: int = 0
    good: int = 0
    inside: int = 0
    faults: Counter[tuple[str, str]] = field(default_factory=Counter)
    newest: Reading | None = None
    first_good: int | None = None
    units: set[str] = field(default_factory=set)
    types: set[type] = field(default_factory=set)
    differ: int = 0
    odd: str = ""

    def add(self, reading: Reading, window: Window, truth: Truth | None, late: int = 0) -> None:
        """Count one reading, which may be `late` microseconds older than in a steady run."""
        self.stored += 1
        self.units.add(reading.unit)
        inside = window.began <= reading.time <= window.ended
        self.inside += inside
        if self.newest is None or reading.time > self.newest.time:
            self.newest = reading
        if reading.quality is not Quality.GOOD:
            if inside:
                self.faults[reading.reason, reading.code] += 1
            return
        self.good += 1
        self.first_good = reading.time if self.first_good is None else min(self.first_good, reading.time)
        if reading.value is None:
            return
        self.types.add(type(reading.value))
        within = STARTING if reading.time < window.began else STEADY + late
        if truth is not None and not truth.agrees(
            name_of(reading), reading.point, reading.value, reading.time, within
        ):
            self.differ += 1
            self.odd = self.odd or f"{reading.value!r} was stored"


def tallies(
    readings: Iterable[Reading],
    window: Window,
    truth: Truth | None,
    derived: Collection[tuple[str, str]] = (),
    late: Mapping[str, int] = NONE_LATE,
) -> dict[tuple[str, str], Tally]:
    """Return the tallies by machine path and point name; machines know nothing of `derived` points.

    `late` has the longest delay of a response of each machine path, in microseconds, where scans were missed.
    """
    found: dict[tuple[str, str], Tally] = {}
    for reading in readings:
        path = str(reading.path)
        key = path, reading.point
        if key not in found:
            found[key] = Tally()
        found[key].add(reading, window, None if key in derived else truth, late.get(path, 0))
    return found


def name_of(reading: Reading) -> str:
    """Return a machine's name in a truth log: area, line and machine."""
    return "/".join(reading.path[2:])
