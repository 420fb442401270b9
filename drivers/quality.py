"""Values, qualities and reasons: the same words for all protocols."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

Value = bool | int | float | str
"""The type of a value. Which of the four is declared per point and never changes."""


class ValueType(StrEnum):
    """The declared type of a point's value."""

    BOOL = "bool"
    INT = "int"
    FLOAT = "float"
    STRING = "string"


class Quality(StrEnum):
    """How far a value can be trusted. Good readings carry no fault."""

    GOOD = "good"
    UNCERTAIN = "uncertain"
    BAD = "bad"


class Reason(StrEnum):
    """Why a reading is not good: one list for all protocols."""

    NOT_CONNECTED = "not_connected"  # there is no connection to the device
    NO_RESPONSE = "no_response"  # the device was asked and stayed silent
    REFUSED = "refused"  # the device answered that it will not
    NOT_FOUND = "not_found"  # the device does not have this point
    DEVICE_FAULT = "device_fault"  # the device says that its sensor or itself is broken
    BAD_ANSWER = "bad_answer"  # the answer breaks the protocol
    NOT_AVAILABLE = "not_available"  # the device says that it has no value
    NOT_A_NUMBER = "not_a_number"  # NaN or infinity where a number belongs
    TYPE_MISMATCH = "type_mismatch"  # a value of another type than declared
    OVERFLOW = "overflow"  # a value that the declared type can't hold, or lost in a full queue
    OUT_OF_RANGE = "out_of_range"  # outside the range that the point declares
    STALE = "stale"  # the device says that the value is old
    CLOCK = "clock"  # the time is not to be trusted: a clock is not set, or wrong
    DRIVER_FAULT = "driver_fault"  # the driver failed with an error that its contract does not know
    OTHER = "other"  # only the protocol's own code says more


@dataclass(frozen=True, slots=True)
class Fault:
    """Why one reading is not good.

    `code` is the protocol's own word for it, such as `exception 2` or `0x80350000 BadAttributeIdInvalid`.
    """

    quality: Quality
    reason: Reason
    code: str = ""


def bad(reason: Reason, code: str = "") -> Fault:
    """Return the fault of a reading that has no value."""
    return Fault(Quality.BAD, reason, code)


FUTURE = 10_000_000
"""Microseconds by which a source's time may be after its arrival: else its clock is wrong, and not believed."""
