"""The catalogue of faults, and the syntax of one: MACHINE[.POINT]:FAULT[=VALUE][@START][+DURATION].

press-03:bladder_leak@120s+5m                       a process fault, in the model
press-03.bladder_temperature_left:sensor_break@2m   a fault of one point
press-03:slow=1.5@0s+30s                            a network fault, with a value
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


class InvalidFault(ValueError):
    """The text of a fault can't be parsed; the message says what to write."""


class FaultKind(NamedTuple):
    """A kind of fault. `scope` is "point" or "machine"; `value` is the default, in `unit`."""

    scope: str
    value: float
    unit: str
    effect: str


FAULTS = {
    "sensor_break": FaultKind(
        "point", 0.0, "", "the point has no value: NaN, a status, or the end of the register's range"
    ),
    "stuck": FaultKind("point", 0.0, "", "the value stays the same"),
    "drift": FaultKind("point", 5.0, "% of the range a minute", "the value moves away from the truth"),
    "illegal_register": FaultKind("point", 0.0, "", "the device lacks the point: exception 2, an unknown node"),
    "slow": FaultKind("machine", 2.0, "s", "answers are delayed"),
    "silence": FaultKind("machine", 0.0, "", "no answers; an OPC UA server answers no client"),
    "garbage": FaultKind("machine", 0.0, "", "answers are random bytes"),
    "refused": FaultKind("machine", 0.0, "", "connections are refused, for all machines behind the address"),
    "restart": FaultKind(
        "machine", 0.0, "", "the server restarts: connections end, OPC UA namespaces are renumbered"
    ),
    "duplicate_serial": FaultKind("machine", 0.0, "", "parts that start here all get the same serial number"),
    "wrong_clock": FaultKind("machine", -3600.0, "s", "the machine's clock is wrong (OPC UA)"),
}
"""Faults of any machine; those of a model are in its `process_faults`."""

MODBUS_FAULTS = {
    "busy": FaultKind("machine", 4.0, "", "every n-th request is refused with exception 6, server device busy"),
    "lossy": FaultKind("machine", 10.0, "", "every n-th request is not answered"),
    "silent_registers": FaultKind("machine", 0.0, "", "requests that read an entry without a point are not answered"),
    "close_on_illegal": FaultKind(
        "machine", 0.0, "", "the connection is closed at requests that read an entry without a point"
    ),
    "close_now_and_then": FaultKind("machine", 10.0, "", "the connection is closed at every n-th request"),
    "close_after_answer": FaultKind("machine", 0.0, "", "the connection is closed after each answer"),
    "idle_close": FaultKind("machine", 2.0, "s", "connections without requests for so long are closed"),
    "one_connection": FaultKind(
        "machine", 0.05, "s", "one connection at a time; it is free again so long after its end"
    ),
    "truncated": FaultKind("machine", 40.0, "", "of more entries only the first n are sent, without an exception"),
    "register_limit": FaultKind("machine", 32.0, "", "requests for more than n registers are refused: exception 3"),
    "bit_limit": FaultKind("machine", 64.0, "", "requests for more than n coils or inputs are not answered"),
    "even_only": FaultKind("machine", 0.0, "", "requests for an odd number of registers are refused: exception 3"),
    "dead_unit_gateway": FaultKind(
        "machine",
        3.0,
        "s",
        "the gateway waits for this unit at each request, serves no other, and sends exception 11",
    ),
    "needs_pause": FaultKind("machine", 0.05, "s", "requests so soon after an answer are not answered"),
    "needs_pause_after_connect": FaultKind("machine", 0.3, "s", "requests so soon after connecting are not answered"),
    "zeros_after_connect": FaultKind("machine", 1.0, "s", "all values are 0 for so long after connecting"),
    "wrong_unit": FaultKind("machine", 1.0, "", "responses have this unit id"),
    "wrong_transaction": FaultKind("machine", 0.0, "", "responses have this transaction id"),
    "surplus": FaultKind("machine", 2.0, "", "responses have n bytes more than were requested"),
    "twice": FaultKind("machine", 0.0, "", "each response is sent twice"),
}
"""Behaviours of Modbus devices in the field; random faults do not select them."""

OPC_UA_ONLY = {"wrong_clock"}

_SYNTAX = re.compile(
    r"(?P<machine>[\w/-]+)(?:\.(?P<point>\w+))?:(?P<name>\w+)(?:=(?P<value>-?\d+(?:\.\d+)?))?"
    r"(?:@(?P<start>[^+]+))?(?:\+(?P<duration>.+))?"
)


class Fault(NamedTuple):
    """One scheduled fault. `start` and `end` are simulated seconds; `end` may be infinite."""

    outputs: MachineOutputs
    point: Point | None
    name: str
    value: float
    start: float
    end: float

    def __str__(self) -> str:
        machine = self.outputs.configured.path.machine
        return f"{machine}.{self.point.name}:{self.name}" if self.point else f"{machine}:{self.name}"


def parse_fault(text: str, machines: Sequence[MachineOutputs], seed: str, now: float = 0.0) -> Fault:
    """Parse a fault; it starts at `now` if the text has no start.

    Raises `InvalidFault`.
    """
    match = _SYNTAX.fullmatch(text.strip())
    if not match:
        raise InvalidFault(
            f"{text!r} is not a fault; write MACHINE:FAULT@START+DURATION, as in 'press-03:silence@120s+30s', or "
            "MACHINE.POINT:FAULT@START for a fault of one point"
        )
    try:
        return _parsed(match, machines, seed, now)
    except (LookupError, ValueError) as error:
        raise InvalidFault(f"{text!r}: {error.args[0]}") from None


def _parsed(match: re.Match[str], machines: Sequence[MachineOutputs], seed: str, now: float) -> Fault:
    """Return the fault of a match. Raises `LookupError` and `ValueError`."""
    outputs = find_machine(match["machine"], machines)
    kind = faults_of_machine(outputs).get(match["name"])
    if kind is None:
        raise LookupError(unknown("fault", match["name"], faults_of_machine(outputs)))
    point = _point(match["point"], outputs, f"{seed}/{match[0]}") if kind.scope == "point" else None
    if match["point"] and kind.scope == "machine":
        raise ValueError(f"{match['name']} applies to a machine, not to a point; remove .{match['point']}")
    start = _seconds(match["start"]) if match["start"] else now
    end = start + _seconds(match["duration"]) if match["duration"] else math.inf
    value = float(match["value"]) if match["value"] else kind.value
    return Fault(outputs, point, match["name"], value, start, end)


def faults_of_machine(outputs: MachineOutputs) -> dict[str, FaultKind]:
    """Return the kinds of faults that a machine can have."""
    protocol = outputs.configured.protocol.name
    excluded = OPC_UA_ONLY if protocol == "modbus" else set()
    if not isinstance(outputs.machine, Machine | Carousel):
        excluded = excluded | {"duplicate_serial"}
    kinds = {name: kind for name, kind in FAULTS.items() if name not in excluded}
    if protocol == "modbus":
        kinds |= MODBUS_FAULTS
    if isinstance(outputs.machine, Machine | Carousel):
        own = outputs.machine.model.process_faults
        kinds |= {name: FaultKind("machine", 0.0, "", effect) for name, effect in own.items()}
    return kinds


def random_faults(machines: Sequence[MachineOutputs], seed: str, every: float, until: float) -> Iterable[Fault]:
    """Yield faults at random times, one in `every` seconds on average, each for half a minute to two minutes."""
    rng = Random(f"{seed}/faults")
    at = rng.expovariate(1 / every)
    while at < until:
        outputs = rng.choice(machines)
        kinds = {name: kind for name, kind in faults_of_machine(outputs).items() if name not in MODBUS_FAULTS}
        name, kind = rng.choice(sorted(kinds.items()))
        point = _point(None, outputs, f"{seed}/{at}") if kind.scope == "point" else None
        yield Fault(outputs, point, name, kind.value, at, at + rng.uniform(30.0, 120.0))
        at += rng.expovariate(1 / every)


def find_machine(written: str, machines: Sequence[MachineOutputs]) -> MachineOutputs:
    """Return the machine of a name, or of a line and name if several lines have such a machine.

    Raises `LookupError`.
    """
    found = [outputs for outputs in machines if f"/{_path(outputs.configured)}".endswith(f"/{written}")]
    if not found:
        names = {outputs.configured.path.machine for outputs in machines}
        raise LookupError(unknown("machine", written, names))
    if len(found) > 1:
        raise LookupError(
            f"there are {len(found)} machines {written!r}; write the line too, as in '{_line_and_name(found[0])}'"
        )
    return found[0]


def _path(configured: Configured) -> str:
    return f"{configured.path.area}/{configured.path.line}/{configured.path.machine}"


def _line_and_name(outputs: MachineOutputs) -> str:
    return f"{outputs.configured.path.line}/{outputs.configured.path.machine}"


def _point(written: str | None, outputs: MachineOutputs, seed: str) -> Point:
    points = {point.name: point for point in outputs.configured.points}
    if written is not None:
        if written not in points:
            raise LookupError(f"{outputs.configured.path.machine}: {unknown('point', written, points)}")
        return points[written]
    measured = [point for point in points.values() if point.type is ValueType.FLOAT and point.range]
    return Random(seed).choice(measured or list(points.values()))


def _seconds(written: str) -> float:
    return cast("float", parse_duration(written))  # a float for a str
