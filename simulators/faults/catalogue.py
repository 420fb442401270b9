"""Faults by name: what can be ordered, from when and for how long.

press-03:bladder_leak@120s+5m                       a process fault, in the model
press-03.bladder_temperature_left:sensor_break@2m   a fault of one point
press-03:slow=1.5@0s+30s                            a fault on the way, with a value
"""

from __future__ import annotations

import math
import re
from random import Random
from typing import TYPE_CHECKING, NamedTuple, cast

from drivers.base import ValueType, parse_duration
from gateway.settings.problems import unknown
from simulators.machines.carousel import Carousel
from simulators.machines.machine import Machine

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.settings.factory import Machine as Configured
    from gateway.settings.point import Point
    from simulators.machines.outputs import MachineOutputs


class NoFault(ValueError):
    """What was ordered is no fault; the text says what would be right."""


class Kind(NamedTuple):
    """A kind of fault: of a point or a machine, its usual value and the value's unit, what it does."""

    of: str
    value: float
    unit: str
    does: str


FAULTS = {
    "sensor_break": Kind(
        "point", 0.0, "", "the point has no value: NaN, a status, or the end of the register's range"
    ),
    "stuck": Kind("point", 0.0, "", "the value stays as it is"),
    "drift": Kind("point", 5.0, "% of the range a minute", "the value moves away from the truth"),
    "illegal_register": Kind("point", 0.0, "", "the device does not have the point: exception 2, an unknown node"),
    "slow": Kind("machine", 2.0, "s", "answers come late"),
    "silence": Kind("machine", 0.0, "", "no answer comes; of an OPC UA server, to nobody"),
    "garbage": Kind("machine", 0.0, "", "answers are noise"),
    "refused": Kind("machine", 0.0, "", "nobody listens; of all machines behind the address"),
    "restart": Kind("machine", 0.0, "", "the server starts anew: connections end, OPC UA namespaces are renumbered"),
    "duplicate_serial": Kind("machine", 0.0, "", "parts that are started here all get one serial number"),
    "wrong_clock": Kind("machine", -3600.0, "s", "the machine's clock is wrong (OPC UA)"),
}
"""What any machine can have; a model's own stand in its `process_faults`."""

OPC_UA_ONLY = {"wrong_clock"}

_ORDER = re.compile(
    r"(?P<machine>[\w/-]+)(?:\.(?P<point>\w+))?:(?P<name>\w+)(?:=(?P<value>-?\d+(?:\.\d+)?))?"
    r"(?:@(?P<start>[^+]+))?(?:\+(?P<lasts>.+))?"
)


class Fault(NamedTuple):
    """One fault that was ordered. `start` and `end` are simulated seconds; `end` may be infinite."""

    shown: MachineOutputs
    point: Point | None
    name: str
    value: float
    start: float
    end: float

    def __str__(self) -> str:
        machine = self.shown.configured.path.machine
        return f"{machine}.{self.point.name}:{self.name}" if self.point else f"{machine}:{self.name}"


def parse_fault(written: str, machines: Sequence[MachineOutputs], seed: str, now: float = 0.0) -> Fault:
    """Return the fault that is ordered; it starts at `now` where it does not say when.

    Raises `NoFault`.
    """
    match = _ORDER.fullmatch(written.strip())
    if not match:
        raise NoFault(
            f"{written!r} is no fault; write MACHINE:FAULT@START+DURATION, as in 'press-03:silence@120s+30s', or "
            "MACHINE.POINT:FAULT@START for a fault of one point"
        )
    try:
        return _parsed(match, machines, seed, now)
    except (LookupError, ValueError) as error:
        raise NoFault(f"{written!r}: {error.args[0]}") from None


def _parsed(match: re.Match[str], machines: Sequence[MachineOutputs], seed: str, now: float) -> Fault:
    """Return the fault of these parts. Raises `LookupError` and `ValueError`."""
    shown = find_machine(match["machine"], machines)
    kind = kinds_of(shown).get(match["name"])
    if kind is None:
        raise LookupError(unknown("fault", match["name"], kinds_of(shown)))
    point = _point(match["point"], shown, f"{seed}/{match[0]}") if kind.of == "point" else None
    if match["point"] and kind.of == "machine":
        raise ValueError(f"{match['name']} is of a machine, not of a point; leave .{match['point']} out")
    start = _seconds(match["start"]) if match["start"] else now
    end = start + _seconds(match["lasts"]) if match["lasts"] else math.inf
    value = float(match["value"]) if match["value"] else kind.value
    return Fault(shown, point, match["name"], value, start, end)


def kinds_of(shown: MachineOutputs) -> dict[str, Kind]:
    """Return the faults that a machine can have."""
    protocol = shown.configured.protocol.name
    not_here = OPC_UA_ONLY if protocol == "modbus" else set()
    if not isinstance(shown.machine, Machine | Carousel):
        not_here = not_here | {"duplicate_serial"}
    kinds = {name: kind for name, kind in FAULTS.items() if name not in not_here}
    if isinstance(shown.machine, Machine | Carousel):
        own = shown.machine.model.process_faults
        kinds |= {name: Kind("machine", 0.0, "", does) for name, does in own.items()}
    return kinds


def random_faults(machines: Sequence[MachineOutputs], seed: str, every: float, until: float) -> Iterable[Fault]:
    """Yield faults at random times, one in `every` seconds on average, each for half a minute to two minutes."""
    rng = Random(f"{seed}/faults")
    at = rng.expovariate(1 / every)
    while at < until:
        shown = rng.choice(machines)
        name, kind = rng.choice(sorted(kinds_of(shown).items()))
        point = _point(None, shown, f"{seed}/{at}") if kind.of == "point" else None
        yield Fault(shown, point, name, kind.value, at, at + rng.uniform(30.0, 120.0))
        at += rng.expovariate(1 / every)


def find_machine(written: str, machines: Sequence[MachineOutputs]) -> MachineOutputs:
    """Return the machine of that name, or of that line and name where several lines have one.

    Raises `LookupError`.
    """
    found = [one for one in machines if f"/{_path(one.configured)}".endswith(f"/{written}")]
    if not found:
        names = {one.configured.path.machine for one in machines}
        raise LookupError(unknown("machine", written, names))
    if len(found) > 1:
        raise LookupError(
            f"there are {len(found)} machines {written!r}; write the line too, as in '{_line_and_name(found[0])}'"
        )
    return found[0]


def _path(configured: Configured) -> str:
    return f"{configured.path.area}/{configured.path.line}/{configured.path.machine}"


def _line_and_name(shown: MachineOutputs) -> str:
    return f"{shown.configured.path.line}/{shown.configured.path.machine}"


def _point(written: str | None, shown: MachineOutputs, seed: str) -> Point:
    points = {point.name: point for point in shown.configured.points}
    if written is not None:
        if written not in points:
            raise LookupError(f"{shown.configured.path.machine}: {unknown('point', written, points)}")
        return points[written]
    measured = [point for point in points.values() if point.type is ValueType.FLOAT and point.range]
    return Random(seed).choice(measured or list(points.values()))


def _seconds(written: str) -> float:
    return cast("float", parse_duration(written))  # of text it makes seconds
