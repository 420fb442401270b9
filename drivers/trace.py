"""The trace of a driver: each message on the wire, for `lineside check --trace` and `lineside run -v`."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple


class Direction(StrEnum):
    """The kind of a wire event."""

    OPENED = "opened"
    SENT = "sent"
    RECEIVED = "received"
    CLOSED = "closed"


class WireEvent(NamedTuple):
    """One message on the wire, or the begin or end of a connection.

    `time`     microseconds since the epoch, UTC
    `machine`  the path of the machine that it concerns; empty if it concerns the whole connection or is unknown
    `data`     the bytes that may be shown: never a password or a key, so a part of the message, or nothing
    `text`     the meaning in a few words, such as `unit 1: read holding 0..9`
    """

    time: int
    machine: str
    direction: Direction
    data: bytes
    text: str


Tracer = Callable[[WireEvent], None]
"""Receives the events in their order. It must not raise."""
