"""States and modes of PackML (ISA-TR88.00.02, OPC 30050), with the numbers that machines show."""

from __future__ import annotations

from enum import IntEnum


class State(IntEnum):
    """What a machine is doing."""

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
    """How a machine is run."""

    INVALID = 0
    PRODUCTION = 1
    MAINTENANCE = 2
    MANUAL = 3


THEN = {
    State.STOPPED: State.RESETTING,
    State.RESETTING: State.IDLE,
    State.IDLE: State.STARTING,
    State.STARTING: State.EXECUTE,
    State.COMPLETING: State.COMPLETE,
    State.COMPLETE: State.RESETTING,
    State.HOLDING: State.HELD,
    State.HELD: State.UNHOLDING,
    State.UNHOLDING: State.EXECUTE,
    State.SUSPENDING: State.SUSPENDED,
    State.UNSUSPENDING: State.EXECUTE,
    State.ABORTING: State.ABORTED,
    State.ABORTED: State.CLEARING,
    State.CLEARING: State.STOPPED,
}
"""What follows a state that a machine leaves by itself when its time is over."""
