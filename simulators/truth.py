"""The truth log: what every simulated machine showed, and when, so that a store can be compared with it.

A line of JSON for each change of a machine, with the simulated time in microseconds since the start:

    {"t":200000,"machine":"curing/curing-1/press-01","values":{"bladder_pressure_left":16.02,"state":6}}
    {"t":120000000,"fault":"press-03:bladder_leak","active":true}

Values are as a perfect reader has them: rounded to what the registers hold, null where a sensor is broken. The same
seed gives the same file, byte for byte. When each step was taken by the wall clock stands beside it, in `FILE.clock`.
"""

from __future__ import annotations

import math
import struct
from bisect import bisect_right
from collections import defaultdict
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Self, TextIO

import orjson

from drivers.base import Fault, ValueType
from drivers.modbus.raw_types import TIMES, Raw
from drivers.modbus.source import ModbusSource
from drivers.modbus.values import reader, to_unpacked

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from drivers.base import Value
    from gateway.settings.point import Point
    from simulators.faults.catalogue import Fault as Ordered
    from simulators.machines.outputs import MachineOutputs

    Seen = Callable[[Value | None], Value | None]

MICRO = 1_000_000
NARROW = {Raw.FLOAT16: "e", Raw.FLOAT32: "f"}


def as_read(point: Point) -> Seen:
    """Return what makes of a shown value what a perfect reader has of it."""
    source = point.source
    if not isinstance(source, ModbusSource):
        return lambda value: value
    if source.raw in TIMES:
        return _moment(source)
    if point.type is ValueType.STRING and source.raw is Raw.STRING:
        longest = source.capacity
        return lambda value: value[:longest] if isinstance(value, str) else value
    if point.type is not ValueType.FLOAT:
        return lambda value: value
    if source.value_type is ValueType.INT:
        return _scaled(point)
    packed = struct.Struct(NARROW.get(source.raw, "d"))
    scale, offset = point.scale, point.offset

    def seen(value: Value | None) -> Value | None:
        if not isinstance(value, float):
            return value
        raw: float = packed.unpack(packed.pack((value - offset) / scale))[0]
        return raw * scale + offset

    return seen


def _moment(source: ModbusSource) -> Seen:
    """Return a time as it is written when it is read: its registers hold the moment, and no way to write it."""
    read = reader(source)

    def seen(value: Value | None) -> Value | None:
        if read is None or not isinstance(value, str):
            return value
        found = read(to_unpacked(source, value))
        return None if isinstance(found, Fault) else found

    return seen


def _scaled(point: Point) -> Seen:
    scale, offset = Decimal(str(point.scale)), Decimal(str(point.offset))

    def seen(value: Value | None) -> Value | None:
        if not isinstance(value, float):
            return value
        raw = round((value - point.offset) / point.scale)
        if point.source.limits is not None:
            raw = min(point.source.limits[1], max(point.source.limits[0], raw))
        return float(raw * scale + offset)

    return seen


class TruthLog:
    """Writes what machines show, step by step."""

    def __init__(self, file: Path, machines: Sequence[MachineOutputs]) -> None:
        """Prepare; nothing is written yet."""
        self._file, self._machines = file, machines
        self._last: list[dict[str, Value | None]] = [{} for _ in machines]
        self._seen: dict[int, dict[str, Seen]] = {}
        for shown in machines:
            points = shown.configured.points
            self._seen.setdefault(id(points), {point.name: as_read(point) for point in points})
        self._log: TextIO
        self._clock: TextIO

    def __enter__(self) -> Self:
        self._log = self._file.open("w", encoding="utf-8")
        self._clock = clock_of(self._file).open("w", encoding="utf-8")
        return self

    def __exit__(self, *_: object) -> None:
        self._log.close()
        self._clock.close()

    def write(self, clock: float, wall: int, faults: Sequence[tuple[Ordered, bool]] = ()) -> None:
        """Write one step: simulated seconds since the start, microseconds of the wall clock, what began and ended."""
        t = round(clock * MICRO)
        lines = [_line({"t": t, "fault": str(fault), "active": active}) for fault, active in faults]
        for shown, last in zip(self._machines, self._last, strict=True):
            values = shown.values()
            changed = {}
            for name, seen in self._seen[id(shown.configured.points)].items():
                value = seen(values[name])
                if name not in last or value != last[name]:
                    changed[name] = last[name] = value
            if changed:
                lines.append(_line({"t": t, "machine": name_of(shown), "values": changed}))
        self._log.writelines(lines)
        self._clock.write(f"{t} {wall}\n")
        self._log.flush()
        self._clock.flush()


def name_of(shown: MachineOutputs) -> str:
    """Return a machine's name in the log: area, line and machine."""
    path = shown.configured.path
    return f"{path.area}/{path.line}/{path.machine}"


def clock_of(file: Path) -> Path:
    """Return where the steps' wall times stand."""
    return file.with_name(file.name + ".clock")


def _line(content: dict[str, Any]) -> str:
    return orjson.dumps(content, option=orjson.OPT_APPEND_NEWLINE).decode()


class Truth:
    """A truth log, read again."""

    def __init__(self, file: Path) -> None:
        """Read a log and its clock. Raises `OSError`, or `ValueError` where it is none."""
        steps = [line.split() for line in clock_of(file).read_text(encoding="utf-8").splitlines()]
        wall = {int(t): int(at) for t, at in steps}
        self._times: dict[tuple[str, str], list[int]] = defaultdict(list)
        self._values: dict[tuple[str, str], list[Value | None]] = defaultdict(list)
        self.faults: list[dict[str, Any]] = []
        for line in file.read_bytes().splitlines():
            entry = orjson.loads(line)
            if "fault" in entry:
                self.faults.append(entry)
                continue
            for point, value in entry["values"].items():
                self._times[entry["machine"], point].append(wall[entry["t"]])
                self._values[entry["machine"], point].append(value)

    def points(self) -> list[tuple[str, str]]:
        """Return every point of the log: machine and point."""
        return list(self._times)

    def held(self, machine: str, point: str, since: int, until: int) -> list[Value | None]:
        """Return the values that a point had between two wall times in microseconds, that at `since` included."""
        times = self._times[machine, point]
        first = max(0, bisect_right(times, since) - 1)
        return self._values[machine, point][first : bisect_right(times, until)]

    def away(self, machine: str, point: str, since: int, until: int) -> int:
        """Return for how long on end, in microseconds, a point did not have the value that it had at `since`."""
        times, values = self._times[machine, point], self._values[machine, point]
        first = max(0, bisect_right(times, since) - 1)
        longest, left = 0, None
        for time, value in zip(times[first:], values[first:], strict=True):
            if left is not None:
                longest = max(longest, min(time, until) - left)
            if time > until:
                break
            left = None if value == values[first] else (time if left is None else left)
        return longest if left is None else max(longest, until - left)

    def agrees(self, machine: str, point: str, value: Value, time: int, within: int = 1_500_000) -> bool:
        """Return whether a point had this value at about that time, in microseconds of the wall clock.

        A reading is stamped when its answer came, and what was shown a step or a publishing interval before is right.
        """
        return any(_alike(held, value) for held in self.held(machine, point, time - within, time + within))


def _alike(held: Value | None, value: Value) -> bool:
    if isinstance(held, float) and isinstance(value, float):
        return math.isclose(held, value, rel_tol=1e-9, abs_tol=1e-12)
    return type(held) is type(value) and held == value
