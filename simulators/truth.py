"""The truth log: the values of every simulated machine over time, to compare a store with.

A line of JSON for each change of a machine, with the simulated time in microseconds since the start:

    {"t":200000,"machine":"curing/curing-1/press-01","values":{"bladder_pressure_left":16.02,"state":6}}
    {"t":120000000,"fault":"press-03:bladder_leak","active":true}

Values are those of a perfect reader: rounded to the resolution of the registers, null for a broken sensor. The same
seed gives the same file, byte for byte. `FILE.clock` has the wall time of each step.
"""

from __future__ import annotations

import math
import struct
from bisect import bisect_right
from collections import defaultdict
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Self, TextIO, cast

import orjson

from drivers.base import Fault, ValueType
from drivers.float32 import shortest
from drivers.modbus.raw_types import TIMES, Raw
from drivers.modbus.source import ModbusSource
from drivers.modbus.values import reader, to_unpacked
from simulators.machines.composed import composed_text, parts_of
from simulators.modbus.scale_registers import exponents

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from drivers.base import Value
    from gateway.settings.point import Point
    from simulators.faults.catalogue import Fault as InjectedFault
    from simulators.machines.outputs import MachineOutputs

    ReadBack = Callable[[Value | None], Value | None]
    """Value of a point -> the value that a perfect reader gets."""

MICRO = 1_000_000
NARROW = {Raw.FLOAT16: "e", Raw.FLOAT32: "f"}


def as_read_back(point: Point, exponent: int | None = None) -> ReadBack:
    """Return the function from a point's value to the value that a perfect reader gets.

    `exponent` is that of the point's scale register.
    """
    source = point.source
    if not isinstance(source, ModbusSource):
        return lambda value: value
    if source.raw in TIMES:
        return _moment(source)
    if point.type is ValueType.STRING and source.raw is Raw.STRING:
        longest = source.capacity
        return lambda value: value[:longest] if isinstance(value, str) else value
    if point.type is ValueType.FLOAT:
        whole = source.value_type is ValueType.INT or (exponent is not None and source.raw_limits is not None)
        return _scaled(point, exponent or 0) if whole else _float(point)
    return lambda value: value


def _float(point: Point) -> ReadBack:
    letter = NARROW.get(cast("ModbusSource", point.source).raw, "d")
    packed = struct.Struct(letter)
    scale, offset = Decimal(str(point.scale)), Decimal(str(point.offset))

    def seen(value: Value | None) -> Value | None:
        if not isinstance(value, float):
            return value
        raw: float = packed.unpack(packed.pack((value - point.offset) / point.scale))[0]
        if letter == "d" or not math.isfinite(raw):
            return raw * point.scale + point.offset
        return float(Decimal(repr(shortest(raw, letter))) * scale + offset)

    return seen


def _moment(source: ModbusSource) -> ReadBack:
    """Return the function for a time: registers hold the instant, and the driver decides on its text."""
    read = reader(source)

    def seen(value: Value | None) -> Value | None:
        if read is None or not isinstance(value, str):
            return value
        found = read(to_unpacked(source, value))
        return None if isinstance(found, Fault) else found

    return seen


def _scaled(point: Point, exponent: int = 0) -> ReadBack:
    scale, offset = Decimal(str(point.scale)), Decimal(str(point.offset))
    limits = cast("ModbusSource", point.source).raw_limits

    def seen(value: Value | None) -> Value | None:
        if not isinstance(value, float):
            return value
        raw = round((value - point.offset) / point.scale / 10.0**exponent)
        if limits is not None:
            raw = min(limits[1], max(limits[0], raw))
        return float(Decimal(raw).scaleb(exponent) * scale + offset)

    return seen


class TruthLog:
    """Writes the values of machines, step by step."""

    def __init__(self, file: Path, machines: Sequence[MachineOutputs]) -> None:
        """Prepare; nothing is written yet."""
        self._file, self._machines = file, machines
        self._last: list[dict[str, Value | None]] = [{} for _ in machines]
        self._read_back: dict[int, dict[str, ReadBack]] = {}
        self._composed: dict[int, list[tuple[Point, list[Point]]]] = {}
        for outputs in machines:
            points = outputs.configured.points
            if id(points) not in self._read_back:
                scaled = exponents(points)
                read_back = {point.name: as_read_back(point, scaled.get(point.name)) for point in points}
                self._read_back[id(points)] = read_back
                wholes = {point.name: point for point in points}
                composed = [(wholes[name], parts) for name, parts in parts_of(points).items()]
                self._composed[id(points)] = composed
        self._log: TextIO
        self._clock: TextIO

    def __enter__(self) -> Self:
        self._log = self._file.open("w", encoding="utf-8")
        self._clock = clock_file(self._file).open("w", encoding="utf-8")
        return self

    def __exit__(self, *_: object) -> None:
        self._log.close()
        self._clock.close()

    def write(self, clock: float, wall: int, faults: Sequence[tuple[InjectedFault, bool]] = ()) -> None:
        """Write one step: simulated seconds, wall time in microseconds, and faults that began or ended."""
        t = round(clock * MICRO)
        lines = [_line({"t": t, "fault": str(fault), "active": active}) for fault, active in faults]
        for outputs, last in zip(self._machines, self._last, strict=True):
            values = outputs.values()
            if composed := self._composed[id(outputs.configured.points)]:
                values = {**values, **{whole.name: composed_text(whole, parts, values) for whole, parts in composed}}
            changed = {}
            for name, read_back in self._read_back[id(outputs.configured.points)].items():
                value = read_back(values[name])
                if name not in last or value != last[name]:
                    changed[name] = last[name] = value
            if changed:
                lines.append(_line({"t": t, "machine": machine_name(outputs), "values": changed}))
        self._log.writelines(lines)
        self._clock.write(f"{t} {wall}\n")
        self._log.flush()
        self._clock.flush()


def machine_name(outputs: MachineOutputs) -> str:
    """Return a machine's name in the log: area, line and machine."""
    path = outputs.configured.path
    return f"{path.area}/{path.line}/{path.machine}"


def clock_file(file: Path) -> Path:
    """Return the file with the wall time of each step."""
    return file.with_name(file.name + ".clock")


def _line(content: dict[str, Any]) -> str:
    return orjson.dumps(content, option=orjson.OPT_APPEND_NEWLINE).decode()


class Truth:
    """A truth log that was written."""

    def __init__(self, file: Path) -> None:
        """Read a log and its clock. Raises `OSError`, or `ValueError` for a file that is not a truth log."""
        steps = [line.split() for line in clock_file(file).read_text(encoding="utf-8").splitlines()]
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

    def values_between(self, machine: str, point: str, since: int, until: int) -> list[Value | None]:
        """Return the values of a point between two wall times in microseconds, including that at `since`."""
        times = self._times[machine, point]
        first = max(0, bisect_right(times, since) - 1)
        return self._values[machine, point][first : bisect_right(times, until)]

    def changes(self, machine: str, point: str) -> tuple[list[int], list[Value | None]]:
        """Return the wall times of all changes of a point in microseconds, and the values from then on."""
        return self._times[machine, point], self._values[machine, point]

    def longest_deviation(self, machine: str, point: str, since: int, until: int) -> int:
        """Return the longest time, in microseconds, in which a point differed from its value at `since`."""
        times, values = self._times[machine, point], self._values[machine, point]
        first = max(0, bisect_right(times, since) - 1)
        longest, changed = 0, None
        for time, value in zip(times[first:], values[first:], strict=True):
            if changed is not None:
                longest = max(longest, min(time, until) - changed)
            if time > until:
                break
            changed = None if value == values[first] else (time if changed is None else changed)
        return longest if changed is None else max(longest, until - changed)

    def agrees(self, machine: str, point: str, value: Value, time: int, within: int = 1_500_000) -> bool:
        """Return True if a point had this value at about that wall time in microseconds.

        A reading is stamped when its answer came, so the value of a step or publishing interval before is right too.
        """
        return any(
            _equal(shown, value) for shown in self.values_between(machine, point, time - within, time + within)
        )


def _equal(shown: Value | None, value: Value) -> bool:
    if isinstance(shown, float) and isinstance(value, float):
        return math.isclose(shown, value, rel_tol=1e-9, abs_tol=1e-12)
    return type(shown) is type(value) and shown == value
