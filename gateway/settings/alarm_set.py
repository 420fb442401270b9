"""The alarms of a machine as the gateway uses them, after ISA-18.2 (IEC 62682); `alarms.py` builds them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.settings.point import Point

ALARMS = "alarms"
"""The name of the result point with the transitions of alarms."""

CONTENT = "alarm"
"""The content of that point."""


class Priority(IntEnum):
    """The priority of an alarm, from the consequence and the time to respond (ISA-18.2, 11.5)."""

    CRITICAL = 1
    HIGH = 2
    MEDIUM = 3
    LOW = 4

    @property
    def shown(self) -> str:
        """The priority as it is written."""
        return self.name.lower()

    @property
    def severity(self) -> int:
        """The severity that OPC UA gives an alarm of this priority (OPC 10000-9, 5.5.2: 1 to 1000)."""
        return {1: 900, 2: 700, 3: 500, 4: 200}[self]


class Kind(StrEnum):
    """The kind of a condition (ISA-18.2, 6.3)."""

    HIGH_HIGH = "high_high"
    HIGH = "high"
    LOW = "low"
    LOW_LOW = "low_low"
    DEVIATION = "deviation"
    RATE = "rate"
    STATE = "state"
    BAD_QUALITY = "bad_quality"
    STALE = "stale"
    EXPRESSION = "expression"


class Level(IntEnum):
    """The result of a condition: `WITHIN_DEADBAND` lets an active alarm stay, and does not raise another."""

    CLEAR = 0
    WITHIN_DEADBAND = 1
    ACTIVE = 2
    SUPPRESSED = 3


@dataclass(frozen=True, slots=True)
class Alarm:
    """An alarm of a machine.

    `point` is the point that it is about, empty for an expression. `condition` is the position of its calculation in
    `AlarmSet.conditions`, -1 for none. `message` has texts and names of points in turn. Times are in seconds.
    """

    name: str
    kind: Kind
    point: str
    limit: float | None
    unit: str
    on_delay: float
    off_delay: float
    priority: Priority
    category: str
    message: tuple[str, ...]
    consequence: str
    response: str
    latch: bool
    condition: int
    stale: float = 0.0


@dataclass(frozen=True, slots=True)
class AlarmSet:
    """The alarms of a machine; machines of a template with the same points share one.

    `conditions` are points of the gateway's own, with a `Level` as their value, that nobody else sees. `inputs` are
    the points that messages name.
    """

    alarms: tuple[Alarm, ...] = ()
    conditions: tuple[Point, ...] = ()
    inputs: tuple[Point, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.alarms)


NO_ALARMS = AlarmSet()
