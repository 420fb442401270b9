"""The outputs of one machine: the signals of its model, changed by faults of sensors and of the network."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from drivers.base import ValueType
from simulators.machines.signals import compile_signal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from drivers.base import Value
    from gateway.settings.factory import Machine as Configured
    from gateway.settings.point import Point
    from simulators.machines.signals import Signal

TYPES = {
    ValueType.BOOL: bool, ValueType.INT: int, ValueType.FLOAT: float, ValueType.STRING: str, ValueType.JSON: str,
}  # fmt: skip


class SimulatedMachine(Protocol):
    """A machine that can be stepped and read. `faults` has the active process faults."""

    name: str
    clock: float
    faults: set[str]

    def step(self, dt: float) -> None:
        """Advance by `dt` simulated seconds."""

    def read(self) -> dict[str, Value]:
        """Return the present values, by point."""


@dataclass
class NetworkFaults:
    """Network faults of a machine; its server applies them when it answers.

    `silent`   no answers
    `slow`     delay of answers in seconds
    `garbage`  answers are random bytes
    `refused`  connections are refused, for all machines behind one address
    `restarts` number of restarts of the server, for all machines behind one address
    `illegal`  points whose registers, or node, the device does not have
    `clock`    error of the machine's clock in seconds
    `behaviours`  of a Modbus device, by name, each with its number; `requests` counts the requests to the machine
    """

    silent: bool = False
    slow: float = 0.0
    garbage: bool = False
    refused: bool = False
    restarts: int = 0
    illegal: set[str] = field(default_factory=set)
    clock: float = 0.0
    behaviours: dict[str, float] = field(default_factory=dict)
    requests: int = 0


class MachineOutputs:
    """A machine with its configured points.

    A user's template may have the name of a bundled template. A point that the model lacks, or has with another type
    or range, gets a generated signal.
    """

    def __init__(self, configured: Configured, machine: SimulatedMachine, lock: threading.Lock | None = None) -> None:
        """Prepare; `lock` is that of the machine's plant."""
        self.lock = lock or threading.Lock()
        self.configured = configured
        self.machine = machine
        self.network = NetworkFaults()
        self.broken: set[str] = set()  # points without a value
        self.stuck: dict[str, Value] = {}
        self.drifting: dict[str, tuple[float, float]] = {}  # point -> start, units per second
        self.version = 0  # counts changes of the faults
        signals = machine.read()
        self._generated: list[tuple[str, Signal]] = [
            (point.name, compile_signal(point)) for point in configured.points if not _fits(point, signals)
        ]

    @property
    def revision(self) -> tuple[float, int]:
        """A number pair that changes whenever the values may have changed."""
        return self.machine.clock, self.version

    def fault_free_values(self) -> Mapping[str, Value]:
        """Return the present values as if there were no sensor faults."""
        values = self.machine.read()
        if self._generated:
            clock, name = self.machine.clock, self.machine.name
            values = values | {point: signal(clock, name) for point, signal in self._generated}
        return values

    def values(self) -> Mapping[str, Value | None]:
        """Return the present values; None for a broken sensor."""
        values = self.fault_free_values()
        if not (self.broken or self.stuck or self.drifting):
            return values
        faulty: dict[str, Value | None] = {**values, **self.stuck}
        for point, (start, rate) in self.drifting.items():
            value = faulty[point]
            if isinstance(value, int | float) and not isinstance(value, bool):
                moved = value + rate * (self.machine.clock - start)
                faulty[point] = moved if isinstance(value, float) else round(moved)
        return faulty | dict.fromkeys(self.broken)


def _fits(point: Point, signals: Mapping[str, Value]) -> bool:
    """Return True if the model has a signal of the point's type and range."""
    value = signals.get(point.name)
    if type(value) is not TYPES[point.type]:
        return False
    if isinstance(value, int | float) and point.range is not None:
        return point.range[0] <= value <= point.range[1]
    return True
