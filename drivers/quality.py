"""Values, qualities and reasons, the same for all protocols."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

Value = bool | int | float | str
"""The type of a value. Each point declares one type, which never changes; a value of type `json` is a JSON text."""


class ValueType(StrEnum):
    """The declared type of a point's value."""

    BOOL = "bool"
    INT = "int"
    FLOAT = "float"
    STRING = "string"
    JSON = "json"


class Quality(StrEnum):
    """The quality of a reading. Good readings have no fault."""

    GOOD = "good"
    UNCERTAIN = "uncertain"
    BAD = "bad"


class Reason(StrEnum):
    """Why a reading is not good: one list for all protocols."""

    NOT_CONNECTED = "not_connected"  # there is no connection to the device
    NO_RESPONSE = "no_response"  # the device did not answer within the time-out
    REFUSED = "refused"  # the device refused the request
    NOT_FOUND = "not_found"  # the device does not have this point
    DEVICE_FAULT = "device_fault"  # the device reports a failure of its sensor or itself
    BAD_ANSWER = "bad_answer"  # the response violates the protocol
    NOT_AVAILABLE = "not_available"  # the device reports that it has no value
    NOT_A_NUMBER = "not_a_number"  # NaN or infinity in place of a number
    TYPE_MISMATCH = "type_mismatch"  # a value of another type than declared
    OVERFLOW = "overflow"  # a value beyond the declared type, or lost in a full queue
    OUT_OF_RANGE = "out_of_range"  # outside the range that the point declares
    STALE = "stale"  # the device reports that the value is old, or an input of a derived point was not read in time
    BAD_INPUT = "bad_input"  # an input of a derived point is bad; the code names it
    CLOCK = "clock"  # a time stamp that can't be trusted: a clock is wrong or not set
    DRIVER_FAULT = "driver_fault"  # the driver failed with an error outside its contract
    OTHER = "other"  # another StatusCode or condition; the code says more


@dataclass(frozen=True, slots=True)
class Fault:
    """The reason why one reading is not good.

    `code` is the protocol's code, such as `exception 2` or `0x80350000 BadAttributeIdInvalid`.
    """

    quality: Quality
    reason: Reason
    code: str = ""


def bad(reason: Reason, code: str = "") -> Fault:
    """Return the fault of a reading that has no value."""
    return Fault(Quality.BAD, reason, code)


FUTURE = 10_000_000
"""Microseconds by which a source's time may be later than its arrival; if more, its clock is not trusted."""
