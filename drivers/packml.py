"""States and modes of PackML machines (ANSI/ISA-TR88.00.02, OPC 30050), with their numbers."""

from __future__ import annotations

from enum import IntEnum


class State(IntEnum):
    """A state of the unit (`StateCurrent`)."""

    UNDEFINED = 0
    CLEARING = 1
    STOPPED = 2
    STARTING = 3
    IDLE = 4
    SUSPENDED = 5
    EXECUTE = 6
    STOPPING = 7
    ABORTING = 8
    ABORTED = 9
    HOLDING = 10
    HELD = 11
    UNHOLDING = 12
    SUSPENDING = 13
    UNSUSPENDING = 14
    RESETTING = 15
    COMPLETING = 16
    COMPLETE = 17


class Mode(IntEnum):
    """A mode of the unit (`UnitModeCurrent`)."""

    INVALID = 0
    PRODUCTION = 1
    MAINTENANCE = 2
    MANUAL = 3
