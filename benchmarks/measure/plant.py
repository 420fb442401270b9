"""The measured plant: Modbus machines that share one register layout, or the nodes of an OPC UA server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

SCALE = 0.1
"""Of 16-bit points."""

NAMESPACE = "urn:lineside:benchmark"
"""Of the nodes of the OPC UA server, where they have the index 2."""

NAMESPACE_INDEX = 2

PER_SUBNET = 200
"""Machines with neighbouring addresses: 127.0.1.1 to 127.0.1.200, then 127.0.2.1."""


class Register(NamedTuple):
    """A point of a Modbus machine. `address` counts holding registers from 0."""

    name: str
    address: int
    raw: str


@dataclass(frozen=True, slots=True)
class ModbusPlant:
    """Machines with a connection each.

    `period`    seconds between two scans
    `floats`    the part of the points that are 32-bit floats; the others are scaled 16-bit words
    `changing`  whether every value changes at every scan
    `on_change` whether a value is sent only if it has changed
    `in_flight` requests that a connection may have at a time
    """

    machines: int
    points: int
    period: float = 1.0
    floats: float = 0.25
    changing: bool = True
    on_change: bool = False
    in_flight: int = 1

    @property
    def rate(self) -> float:
        """Values that the schedule asks for, per second."""
        return self.machines * self.points / self.period

    def registers(self) -> Iterator[Register]:
        """Yield the points of a machine, floats first, without gaps."""
        floats = round(self.points * self.floats)
        for i in range(self.points):
            name = f"value_{i:03d}"
            yield Register(name, 2 * i, "float32") if i < floats else Register(name, floats + i, "uint16")

    @property
    def hosts(self) -> list[str]:
        """The loopback address of each machine; all listen on the same port."""
        return [f"127.0.{1 + i // PER_SUBNET}.{1 + i % PER_SUBNET}" for i in range(self.machines)]


@dataclass(frozen=True, slots=True)
class OpcUaPlant:
    """Nodes of type Double behind one server, which all change `rate` times a second."""

    nodes: int
    rate: float = 10.0

    @property
    def changes(self) -> float:
        """Changes a second."""
        return self.nodes * self.rate

    def names(self) -> list[str]:
        """Return the identifiers of the nodes."""
        return [f"value_{i:04d}" for i in range(self.nodes)]
