"""Readings, and scans of readings by the names of their points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from drivers.base import Quality, Value

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

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


class NamedScan:
    """Readings of one machine that were acquired together, by the points' names.

    `time`       of acquisition, microseconds since the epoch, UTC
    `values`     of all readings that are not bad, by name
    `bad`        name -> reason, for readings without a value
    `uncertain`  name -> reason, for values not to be trusted fully
    `codes`      name -> protocol code of the fault, if there is one
    `times`      name -> time, for readings whose own time differs (changes from a server)
    `late`       whether the readings were missed in an outage, and read afterwards from the device's own history

    The values are kept as two columns, names and values, until they are asked for by name: most scans never are.
    """

    __slots__ = ("_column", "_names", "_values", "bad", "codes", "late", "time", "times", "uncertain")

    def __init__(
        self,
        time: int,
        values: dict[str, Value] | None = None,
        bad: dict[str, str] | None = None,
        uncertain: dict[str, str] | None = None,
        codes: dict[str, str] | None = None,
        times: dict[str, int] | None = None,
        late: bool = False,  # noqa: FBT001, FBT002 - a field
        columns: tuple[Sequence[str], Sequence[Value]] | None = None,
    ) -> None:
        """Make a scan; `columns` are names that differ and their values, in place of `values`."""
        self.time = time
        self.bad = {} if bad is None else bad
        self.uncertain = {} if uncertain is None else uncertain
        self.codes = {} if codes is None else codes
        self.times = {} if times is None else times
        self.late = late
        self._values: dict[str, Value] | None
        self._names: Sequence[str]
        self._column: Sequence[Value]
        if columns is None:
            self._values, self._names, self._column = {} if values is None else values, (), ()
        else:
            self._values, (self._names, self._column) = None, columns

    @classmethod
    def of_columns(cls, time: int, names: Sequence[str], values: Sequence[Value], *, late: bool = False) -> Self:
        """Return a scan of good readings, given as two columns of the same length. Names must differ."""
        return cls(time, late=late, columns=(names, values))

    @property
    def values(self) -> dict[str, Value]:
        """The values by name; a change of this dictionary changes the scan."""
        if self._values is None:
            self._values = dict(zip(self._names, self._column, strict=True))
            self._names = self._column = ()
        return self._values

    @property
    def columns(self) -> tuple[Sequence[str], Sequence[Value]]:
        """The names and the values side by side; scans of one group have the same object of names."""
        if self._values is not None:
            return tuple(self._values), list(self._values.values())
        return self._names, self._column

    @property
    def is_good(self) -> bool:
        """Whether all readings are good, acquired at the time of the scan, and not late."""
        return not (self.bad or self.uncertain or self.codes or self.times or self.late)

    def __len__(self) -> int:
        return len(self.bad) + (len(self._column) if self._values is None else len(self._values))

    def as_dict(self) -> dict[str, Any]:
        """Return all fields by name."""
        return {
            "time": self.time, "values": self.values, "bad": self.bad, "uncertain": self.uncertain,
            "codes": self.codes, "times": self.times, "late": self.late,
        }  # fmt: skip

    def select(self, names: Collection[str]) -> NamedScan:
        """Return a scan of the same time with the readings of these names."""
        parts = (self.values, self.bad, self.uncertain, self.codes, self.times)
        values, bad, uncertain, codes, times = ({n: part[n] for n in names if n in part} for part in parts)
        return NamedScan(self.time, values, bad, uncertain, codes, times, self.late)  # type: ignore[arg-type] # by part

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NamedScan) and self.as_dict() == other.as_dict()

    __hash__ = None  # type: ignore[assignment] # as of every class that may change

    def __repr__(self) -> str:
        return f"NamedScan({', '.join(f'{name}={value!r}' for name, value in self.as_dict().items())})"

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


def names_of(scan: Scan) -> Sequence[str]:
    """Return the names of the readings of a scan."""
    names = scan.group.names
    return names if scan.points is None else tuple(map(names.__getitem__, scan.points))


def name_scan(scan: Scan, names: Sequence[str] | None = None) -> NamedScan:
    """Turn the columns of a group into those of names; most scans are whole and good, and cost nothing here.

    `names` are those that `names_of` returns, where the caller has them.
    """
    chosen = names_of(scan) if names is None else names
    named = NamedScan(scan.time, late=scan.late, columns=(chosen, scan.values))  # type: ignore[arg-type] # None goes below
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
