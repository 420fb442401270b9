"""What an OPC UA server sends -> our values, faults and times."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING

from asyncua import ua
from asyncua.ua.status_codes import get_name_and_doc

from drivers.base import Fault, Quality, Reason, bad

if TYPE_CHECKING:
    from drivers.base import Value

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NULL_YEAR = 1601
_MICROSECOND = timedelta(microseconds=1)

_REASONS = {
    "BadNodeIdUnknown": Reason.NOT_FOUND,
    "BadNodeIdInvalid": Reason.NOT_FOUND,
    "BadAttributeIdInvalid": Reason.NOT_FOUND,
    "BadNotFound": Reason.NOT_FOUND,
    "BadNotReadable": Reason.REFUSED,
    "BadUserAccessDenied": Reason.REFUSED,
    "BadCommunicationError": Reason.NO_RESPONSE,
    "BadNoCommunication": Reason.NO_RESPONSE,
    "BadNotConnected": Reason.NO_RESPONSE,
    "BadWaitingForInitialData": Reason.NO_RESPONSE,
    "BadDeviceFailure": Reason.DEVICE_FAULT,
    "BadSensorFailure": Reason.DEVICE_FAULT,
    "BadOutOfService": Reason.DEVICE_FAULT,
    "BadOutOfRange": Reason.OUT_OF_RANGE,
    "BadTypeMismatch": Reason.TYPE_MISMATCH,
    "UncertainEngineeringUnitsExceeded": Reason.OUT_OF_RANGE,
    "UncertainLastUsableValue": Reason.STALE,
    "UncertainNoCommunicationLastUsableValue": Reason.STALE,
    "UncertainSensorNotAccurate": Reason.DEVICE_FAULT,
}


@cache
def fault_of(status: int) -> Fault | None:
    """Return what a status code (Part 4, 7.39) says of a value, None where it is good."""
    severity = status >> 30
    if severity == 0:
        return None
    name, _ = get_name_and_doc(status & 0xFFFF0000)
    reason = _REASONS.get(name, Reason.OTHER)
    return Fault(Quality.UNCERTAIN if severity == 1 else Quality.BAD, reason, f"0x{status:08X} {name}")


def _told(time: datetime | None) -> datetime | None:
    """Return a time, None where it is the null of the binary encoding, the year 1601 (Part 6, 5.2.2.5)."""
    return None if time is None or time.year == NULL_YEAR else time


def _text(value: str) -> str:
    """Return text that can be encoded: asyncua lets bytes through that are no UTF-8, and old servers send Latin-1."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-8", "surrogateescape").decode("latin-1")
    return value


def microseconds(time: datetime) -> int:
    """Return microseconds since the epoch; asyncua's times are UTC, said or not."""
    return ((time if time.tzinfo else time.replace(tzinfo=UTC)) - EPOCH) // _MICROSECOND


def reading(data: ua.DataValue, now: int) -> tuple[Value | None, int, Fault | None]:
    """Return value, time and fault of one `DataValue`; `now` where the server tells no time."""
    time = _told(data.SourceTimestamp) or _told(data.ServerTimestamp)
    stamp = microseconds(time) if time is not None else now
    status = data.StatusCode
    fault = fault_of(status.value) if status is not None else None
    if fault is not None and fault.quality is Quality.BAD:
        return None, stamp, fault
    value = data.Value.Value if data.Value is not None else None
    if isinstance(value, ua.LocalizedText):
        value = value.Text or ""
    if isinstance(value, str):
        return _text(value), stamp, fault
    if isinstance(value, bool | int | float):
        return value, stamp, fault
    kind = "null" if data.Value is None or value is None else data.Value.VariantType.name
    if isinstance(value, list):
        kind = f"an array of {kind}"
    return None, stamp, bad(Reason.TYPE_MISMATCH, f"the server sent {kind}")
