"""Behaviours of Modbus devices in the field, as faults by name: how a device is slow, picky, forgetful or wrong.

Each has a number, whose meaning `MODBUS_FAULTS` in `simulators.faults.catalogue` gives. A behaviour of a connection
applies to all machines behind its address.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from drivers.modbus.pdu import BUSY, EXCEPTION, ILLEGAL_VALUE, TABLES, TARGET_SILENT, read_request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from drivers.modbus.address import Table
    from simulators.machines.outputs import NetworkFaults
    from simulators.modbus.registers import Unit


class Reply(NamedTuple):
    """Bytes that a device sends, after `delay` seconds; with `close` it closes the connection then."""

    delay: float
    data: bytes
    close: bool = False


class Response(NamedTuple):
    """A response without its framing."""

    unit: int
    transaction: int
    pdu: bytes


@dataclass(slots=True)
class Address:
    """The state of an address, over all its connections; times are those of the event loop.

    `busy_until`  when the serial line behind it is free
    `freed_at`    when the last connection ended
    """

    busy_until: float = 0.0
    freed_at: float = -1e9


@dataclass(slots=True)
class _Asked:
    """A request; of a read request with its table and entries."""

    unit: Unit
    number: int
    transaction: int
    pdu: bytes
    table: Table | None = field(init=False, default=None)
    first: int = field(init=False, default=0)
    count: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        if (found := read_request(self.pdu)) is not None:
            self.table, self.first, self.count = found

    @property
    def foreign(self) -> bool:
        """Whether the request reads an entry without a point."""
        return self.table is not None and not self.unit.covers(self.table, self.first, self.count)

    def refusal(self, code: int) -> Response:
        """Return an exception response."""
        return Response(self.number, self.transaction, bytes((self.pdu[0] | EXCEPTION, code)))


@dataclass(slots=True)
class Behaviours:
    """The behaviours of the device at one connection."""

    address: Address
    opened_at: float = field(default_factory=lambda: asyncio.get_running_loop().time())
    _answered_at: float = -1e9

    def before(self, unit: Unit, number: int, transaction: int, pdu: bytes) -> tuple[bytes, Response | None] | None:
        """Return the request to answer, and the response if it is not the usual one; None for no response.

        Raises `Closed` if the device closes the connection.
        """
        network = unit.machines[0].network
        network.requests += 1
        asked = _Asked(unit, number, transaction, pdu)
        faults = network.behaviours
        if ("close_on_illegal" in faults and asked.foreign) or self._is_due(network, "close_now_and_then"):
            raise Closed
        if self._ignores(asked, network):
            return None
        if self._is_due(network, "busy"):
            return pdu, asked.refusal(BUSY)
        if asked.table is not None and not asked.table.bits:
            if asked.count > faults.get("register_limit", asked.count):
                return pdu, asked.refusal(ILLEGAL_VALUE)
            if asked.count % 2 and "even_only" in faults:
                return pdu, asked.refusal(ILLEGAL_VALUE)
        if asked.table is not None and asked.count > faults.get("truncated", asked.count):
            pdu = pdu[:3] + int(faults["truncated"]).to_bytes(2, "big")
        if "dead_unit_gateway" in faults:
            return pdu, asked.refusal(TARGET_SILENT)
        return pdu, None

    def _ignores(self, asked: _Asked, network: NetworkFaults) -> bool:
        """Return True if the device does not answer a request."""
        faults, now = network.behaviours, asyncio.get_running_loop().time()
        return (
            self._is_due(network, "lossy")
            or ("silent_registers" in faults and asked.foreign)
            or (asked.table is not None and asked.table.bits and asked.count > faults.get("bit_limit", asked.count))
            or now - self._answered_at < faults.get("needs_pause", 0.0)
            or now - self.opened_at < faults.get("needs_pause_after_connect", 0.0)
        )

    def _is_due(self, network: NetworkFaults, name: str) -> bool:
        """Return True for every n-th request."""
        every = int(network.behaviours.get(name, 0))
        return bool(every) and network.requests % every == 0

    def after(self, network: NetworkFaults, found: Response, encode: Callable[[Response], bytes]) -> list[Reply]:
        """Return the bytes to send for a response."""
        faults = network.behaviours
        now = self._answered_at = asyncio.get_running_loop().time()
        unit, transaction, pdu = found
        is_read = pdu[0] in TABLES and len(pdu) > 2  # noqa: PLR2004 - function code and byte count
        if "wrong_unit" in faults:
            unit = int(faults["wrong_unit"])
        if "wrong_transaction" in faults:
            transaction = int(faults["wrong_transaction"])
        if is_read and now - self.opened_at < faults.get("zeros_after_connect", 0.0):
            pdu = pdu[:2] + bytes(len(pdu) - 2)
        if is_read and "surplus" in faults:
            more = int(faults["surplus"])
            pdu = bytes((pdu[0], min(255, pdu[1] + more))) + pdu[2:] + bytes(more)
        data = encode(Response(unit, transaction, pdu))
        delay = self._turn(now, faults)
        replies = [Reply(delay + network.slow, data, close="close_after_answer" in faults)]
        return replies * 2 if "twice" in faults else replies

    def _turn(self, now: float, faults: dict[str, float]) -> float:
        """Return the seconds until the serial line behind the address has served a request."""
        start = max(now, self.address.busy_until)
        if "dead_unit_gateway" in faults:
            start = self.address.busy_until = start + faults["dead_unit_gateway"]
        return start - now


class Closed(Exception):
    """The device closes the connection in place of an answer."""


def of_address(units: Iterable[Unit], name: str) -> float | None:
    """Return the number of a behaviour that any machine behind an address has, None if there is none."""
    found = (outputs.network.behaviours.get(name) for unit in units for outputs in unit.machines)
    return next((number for number in found if number is not None), None)
