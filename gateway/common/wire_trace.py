"""Show the messages on the wire that a driver reports, as lines of text or as log events."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog

from drivers.trace import Direction

if TYPE_CHECKING:
    from drivers.trace import Tracer, WireEvent

log = structlog.get_logger(__name__)

_SIGNS = {Direction.OPENED: "=", Direction.SENT: ">", Direction.RECEIVED: "<", Direction.CLOSED: "="}

_EVENTS = {
    Direction.OPENED: "wire.opened",
    Direction.SENT: "wire.sent",
    Direction.RECEIVED: "wire.received",
    Direction.CLOSED: "wire.closed",
}

MOST_BYTES = 300
"""The most bytes of one message that are shown: a whole Modbus message, and the header of any other."""


def trace_line(event: WireEvent) -> str:
    """Return an event as a line: time, machine, direction, bytes, meaning."""
    time = datetime.fromtimestamp(event.time / 1e6, UTC).strftime("%H:%M:%S.%f")
    machine = "/".join(event.machine.split("/")[-2:]) or "-"
    text = event.text if event.data else f"{event.direction} {event.text}"
    return "  ".join(part for part in (time, machine, _SIGNS[event.direction], shown_bytes(event.data), text) if part)


def shown_bytes(data: bytes) -> str:
    """Return bytes in hexadecimal digits; of a long message its begin and its length."""
    shown = data[:MOST_BYTES].hex(" ").upper()
    return shown if len(data) <= MOST_BYTES else f"{shown} ... ({len(data)} bytes)"


def log_trace(device: str) -> Tracer:
    """Return a tracer that logs the messages of a device."""

    def report(event: WireEvent) -> None:
        fields = {"machine": event.machine} if event.machine else {}
        fields |= {"bytes": shown_bytes(event.data)} if event.data else {}
        log.info(_EVENTS[event.direction], device=device, **fields, text=event.text)

    return report
