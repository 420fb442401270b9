"""Messages of a replayed OPC UA server: changes of nodes that count, encoded with one `struct` call each."""

from __future__ import annotations

import struct
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from asyncua import ua

QUEUE = 10
"""Changes in the queue of an item; a full queue drops the oldest."""

_VALUE = struct.pack("<BB", 0x0D, int(ua.VariantType.Double))
"""Encoding mask of a change with value and both times; without a status, which means good."""

_LOSSY_VALUE = struct.pack("<BB", 0x0F, int(ua.VariantType.Double))
"""The same with a status."""

_OVERFLOW = 0x480
"""Good, and earlier changes were lost (OPC 10000-4, 7.39.1: DataValue info type, overflow)."""


def ticks() -> int:
    """Return the time as an OPC UA DateTime: 100 ns since 1601."""
    return time.time_ns() // 100 + ua.uatypes.EPOCH_AS_FILETIME


def header(kind: int, handle: int) -> bytes:
    """Return the type id of a response and its header: good, without diagnostics."""
    return struct.pack("<BBHqIIBiBBB", 1, 0, kind, ticks(), handle, 0, 0, -1, 0, 0, 0)


@dataclass
class Subscription:
    """The items of a subscription and their queued changes: the count and its time."""

    number: int
    handles: list[int] = field(default_factory=list)
    waiting: deque[tuple[int, int]] = field(default_factory=deque)
    sequence: int = 0
    lossy: bool = False
    """Whether changes were lost before the queued changes."""

    def add(self, handles: list[int], turn: int) -> None:
        """Monitor more nodes; their present values are sent at once."""
        self.handles += handles
        self.waiting.clear()
        self.waiting.append((turn, ticks()))

    def put(self, turn: int, when: int) -> int:
        """Queue a change of every item; return the number of changes that the queues drop."""
        lost = 0
        if len(self.waiting) == QUEUE:
            self.waiting.popleft()
            self.lossy, lost = True, len(self.handles)
        self.waiting.append((turn, when))
        return lost

    def notification(self) -> bytes:
        """Return the next message: a change of every item, a microsecond apart."""
        turn, when = self.waiting.popleft()
        self.sequence += 1
        size = len(self.handles)
        kinds = [
            self.handles,
            [_VALUE] * size,
            [float(turn)] * size,
            range(when, when + 10 * size, 10),
            [when] * size,
        ]
        layout = "I2sdqq"
        if self.lossy:
            kinds[1] = [_LOSSY_VALUE] * size
            kinds.insert(3, [_OVERFLOW] * size)
            layout, self.lossy = "I2sdIqq", False
        columns: list[Any] = [None] * (len(kinds) * size)
        for place, column in enumerate(kinds):
            columns[place :: len(kinds)] = column
        items = struct.pack("<" + layout * size, *columns)
        kind = ua.ObjectIds.DataChangeNotification_Encoding_DefaultBinary
        return (
            struct.pack("<IqiBBHBii", self.sequence, when, 1, 1, 0, kind, 1, len(items) + 8, size)
            + items
            + struct.pack("<i", -1)
        )
