"""Readings, and scans of readings by the names of their points."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from drivers.base import Quality, Value

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drivers.base import Fault, Scan
    from gateway.model.path import MachinePath


@dataclass(frozen=True, slots=True)
class Reading:
    """One point's value at one time, with its quality. A bad reading has no value.

    `time` is in microseconds since the epoch, UTC; `late` says that it was missed in an outage, and read afterwards.
    """

    path: MachinePath
    point: str
    time: int
    value: Value | None
    unit: str
    quality: Quality
    reason: str = ""
    code: str = ""
    late: bool = False


@dataclass(slots=True)
class NamedScan:
    """Readings of one machine that were acquired together, by the points' names.

    `time`       of acquisition, microseconds since the epoch, UTC
    `values`     of all readings that are not bad
    `bad`        name -> reason, for readings without a value
    `uncertain`  name -> reason, for values not to be trusted fully
    `codes`      name -> protocol code of the fault, if there is one
    `times`      name -> time, for readings whose own time differs (changes from a server)
    `late`       whether the readings were missed in an outage, and read afterwards from the device's own history
    """

    time: int
    values: dict[str, Value] = field(default_factory=dict)
    bad: dict[str, str] = field(default_factory=dict)
    uncertain: dict[str, str] = field(default_factory=dict)
    codes: dict[str, str] = field(default_factory=dict)
    times: dict[str, int] = field(default_factory=dict)
    late: bool = False

    def __len__(self) -> int:
        return len(self.values) + len(self.bad)

    def readings(self, path: MachinePath, units: dict[str, str]) -> Iterator[Reading]:
        """Yield every reading as an object."""
        for name, value in self.values.items():
            reason = self.uncertain.get(name, "")
            yield Reading(
                path, name, self.times.get(name, self.time), value, units.get(name, ""),
                Quality.UNCERTAIN if reason else Quality.GOOD, reason, self.codes.get(name, ""), self.late,
            )  # fmt: skip
        for name, reason in self.bad.items():
            yield Reading(
                path, name, self.times.get(name, self.time), None, units.get(name, ""),
                Quality.BAD, reason, self.codes.get(name, ""), self.late,
            )  # fmt: skip


def name_scan(scan: Scan) -> NamedScan:
    """Turn columns into names; what most scans are, whole and good, costs one `dict(zip())`."""
    names = scan.group.names
    chosen = names if scan.points is None else list(map(names.__getitem__, scan.points))
    named = NamedScan(scan.time, dict(zip(chosen, scan.values, strict=True)), late=scan.late)  # type: ignore[arg-type] # None goes below
    if scan.times is not None:
        named.times = dict(zip(chosen, scan.times, strict=True))
        if scan.time in scan.times:
            named.times = {name: time for name, time in named.times.items() if time != scan.time}
    for position, fault in scan.faults.items():
        _mark(named, chosen[position], fault)
    return named


def _mark(named: NamedScan, name: str, fault: Fault) -> None:
    if fault.quality is Quality.BAD:
        del named.values[name]
        named.bad[name] = fault.reason
    else:
        named.uncertain[name] = fault.reason
    if fault.code:
        named.codes[name] = fault.code
