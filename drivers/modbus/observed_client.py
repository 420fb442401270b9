"""A Modbus client whose messages are observed: for traces, and for the diagnosis of `lineside check`."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Protocol

from drivers.modbus.client import ModbusClient, framing_of
from drivers.modbus.description import request_text, response_text
from drivers.modbus.framing import LostSync
from drivers.trace import Direction, WireEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from collections.abc import Set as AbstractSet

    from drivers.modbus.connection import ModbusConnection
    from drivers.modbus.framing import Frame, Framing
    from drivers.trace import Tracer


BY_US = "by the gateway"
"""The reason of a connection that the gateway closed."""


class WireObserver(Protocol):
    """Receives what happens on a connection, before the client acts on it."""

    def opened(self, where: str) -> None:
        """Handle a new connection."""

    def sent(self, transaction: int, unit: int, pdu: bytes, frame: bytes) -> None:
        """Handle a request."""

    def received(self, data: bytes, frames: Sequence[Frame]) -> None:
        """Handle received bytes, with the responses that they complete."""

    def closed(self, reason: str) -> None:
        """Handle the end of the connection."""


class ObservedModbusClient(ModbusClient):
    """Reports its messages to observers. `ModbusClient` itself pays nothing for it."""

    def __init__(
        self, connection: ModbusConnection, units: AbstractSet[int], observers: Sequence[WireObserver]
    ) -> None:
        super().__init__(connection, units)
        self._observers = observers
        self._copy: Framing = framing_of(connection)  # decodes the same bytes for the observers

    async def connect(self) -> None:
        await super().connect()
        self._write = partial(self._observe, self._write)
        self._copy.forget()
        for observer in self._observers:
            observer.opened(str(self._connection))

    def close(self) -> None:
        if self._transport is not None:
            for observer in self._observers:
                observer.closed(BY_US)
        super().close()

    def _gone(self, reason: str) -> None:
        if self._transport is not None:
            for observer in self._observers:
                observer.closed(reason)
        super()._gone(reason)

    def _observe(self, write: Callable[[bytes], None], frame: bytes) -> None:
        transaction = self._transaction
        waiting = self._waiting[transaction]
        if self._pending is not None:
            self._copy.forget()
        self._copy.pack(transaction, waiting.unit, waiting.pdu)
        for observer in self._observers:
            observer.sent(transaction, waiting.unit, waiting.pdu, frame)
        write(frame)

    def _received(self, data: bytes) -> None:
        frames: list[Frame] = []
        try:
            frames.extend(self._copy.feed(data))
        except LostSync:
            self._copy.forget()
        for observer in self._observers:
            observer.received(data, frames)
        super()._received(data)


class WireTrace:
    """Describes the messages of a connection for a `Tracer`."""

    def __init__(self, tracer: Tracer, machine_of: Callable[[int], str]) -> None:
        """`machine_of` returns the machine with a unit id, empty if it is unknown."""
        self._tracer = tracer
        self._machine_of = machine_of

    def _report(self, machine: str, direction: Direction, data: bytes, text: str) -> None:
        self._tracer(WireEvent(time.time_ns() // 1000, machine, direction, data, text))

    def opened(self, where: str) -> None:
        self._report("", Direction.OPENED, b"", where)

    def sent(self, transaction: int, unit: int, pdu: bytes, frame: bytes) -> None:
        del transaction
        self._report(self._machine_of(unit), Direction.SENT, frame, request_text(unit, pdu))

    def received(self, data: bytes, frames: Sequence[Frame]) -> None:
        text = "; ".join(response_text(frame.unit, frame.pdu) for frame in frames) or "not a whole response"
        machine = self._machine_of(frames[0].unit) if frames else ""
        self._report(machine, Direction.RECEIVED, data, text)

    def closed(self, reason: str) -> None:
        self._report("", Direction.CLOSED, b"", reason)
