"""Translates OPC UA values and status codes to values and faults of readings. Pure functions."""

from __future__ import annotations

from dataclasses import is_dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from asyncua import ua
from asyncua.ua.status_codes import get_name_and_doc

from drivers.base import Fault, Quality, Reason, bad
from drivers.opcua.codec.json_text import json_text
from drivers.opcua.codec.texts import Unfit, kind_of, name_of, text_of, unwrapped, utf8
from drivers.opcua.errors import DecodeError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from drivers.base import Value
    from drivers.opcua.codec.structures import Structures
    from drivers.opcua.settings import OpcUaGroup

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

OVERFLOW = 0x0480
"""Bits of the status of a data value: the server's queue for the item has overflowed (Part 4, 7.39.1)."""

_REASONS = {
    "BadNodeIdUnknown": Reason.NOT_FOUND,
    "BadNodeIdInvalid": Reason.NOT_FOUND,
    "BadAttributeIdInvalid": Reason.NOT_FOUND,
    "BadNotFound": Reason.NOT_FOUND,
    "BadNoMatch": Reason.NOT_FOUND,
    "BadNotReadable": Reason.REFUSED,
    "BadUserAccessDenied": Reason.REFUSED,
    "BadSecurityModeInsufficient": Reason.REFUSED,
    "BadCommunicationError": Reason.NO_RESPONSE,
    "BadNoCommunication": Reason.NO_RESPONSE,
    "BadNotConnected": Reason.NO_RESPONSE,
    "BadTimeout": Reason.NO_RESPONSE,
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


@lru_cache(maxsize=4096)  # a server may invent any number of status codes
def fault_of(status: int) -> Fault | None:
    """Return the fault of a status code (Part 4, 7.39), None for a good code."""
    severity = status >> 30
    if severity == 0:
        return None
    name, _ = get_name_and_doc(status & 0xFFFF0000)
    reason = _REASONS.get(name, Reason.OTHER)
    return Fault(Quality.UNCERTAIN if severity == 1 else Quality.BAD, reason, f"0x{status:08X} {name}")


def microseconds(time: datetime) -> int:
    """Return microseconds since the epoch; asyncua's times are UTC, with or without a time zone."""
    return ((time if time.tzinfo else time.replace(tzinfo=UTC)) - EPOCH) // _MICROSECOND


def reading(
    value: Any,  # noqa: ANN401 - whatever a server sends
    status: int,
    variant: ua.Variant | None,
    field: tuple[str, ...] = (),
    element: int | None = None,
    structures: Structures | None = None,
    *,
    json: bool = False,
    labels: Mapping[int, str] | None = None,
) -> tuple[Value | None, Fault | None]:
    """Return the value and the fault of a reading; `variant` is the whole variant of a rare type.

    `field` is the path of a field in a structure, `element` the index of an element in an array, also in an array of
    structures. `structures` decodes the server's own structures. With `json` the value is JSON text, also of a
    structure or an array. `labels` are the names of numbers if an enumeration value becomes its name, else None.
    """
    fault = fault_of(status)
    if fault is not None and fault.quality is Quality.BAD:
        return None, fault
    try:
        if (field or json) and structures is not None:
            value = structures.decoded(value)
        picked = _picked(value, variant, field, element)
        if json:
            return json_text(picked, names=labels), fault
        if labels is not None:
            return name_of(picked, labels), fault
        return _simple(picked, None if field else variant), fault
    except Unfit as unfit:
        return None, unfit.fault
    except DecodeError as error:
        return None, bad(Reason.BAD_ANSWER, str(error))


def point_reading(
    group: OpcUaGroup,
    position: int,
    value: Any,  # noqa: ANN401 - whatever a server sends
    status: int,
    variant: ua.Variant | None,
    structures: Structures | None,
) -> tuple[Value | None, Fault | None]:
    """Return the value and the fault of a reading of one point, given by its position in a group."""
    source = group.sources[position]
    if type(value) is str and not status and source.plain and not group.types:
        return utf8(value), None  # many devices send more texts than structures
    labels: Mapping[int, str] | None = None
    if source.named:
        labels = structures.labels.get((group, position), {}) if structures is not None else {}
    json = bool(group.types) and group.is_json(position)
    return reading(value, status, variant, source.field, source.element, structures, json=json, labels=labels)


def _picked(value: Any, variant: ua.Variant | None, field: tuple[str, ...], element: int | None) -> Any:  # noqa: ANN401 - whatever a server sends
    """Return the field of a structure or the element of an array that a point uses.

    For an array of structures, return the field of that element.
    """
    if field and element is not None and isinstance(value, list):
        value, element = _element(value, element), None
    whole = value
    for name in field:
        if isinstance(value, dict) and name in value:
            value = value[name]
        elif is_dataclass(value) and hasattr(value, name):
            value = unwrapped(_field(value, name))
        else:
            raise Unfit(f"{kind_of(whole, variant)} has no field {'.'.join(field)}")
        if value is None:
            raise Unfit(f"the field {'.'.join(field)} was not sent", Reason.NOT_AVAILABLE)
    if element is not None:
        if not isinstance(value, list):
            raise Unfit(f"{kind_of(value, None if field else variant)} is not an array")
        value = _element(value, element)
    return value


def _field(structure: Any, name: str) -> Any:  # noqa: ANN401 - whatever a server sends
    """Return a field of a structure of asyncua; a null string becomes an empty string."""
    value = getattr(structure, name)
    kind = str(type(structure).__dataclass_fields__[name].type).strip("'\"").removeprefix("ua.")
    return "" if value is None and kind == "String" else value


def _element(values: list[Any], element: int) -> Any:  # noqa: ANN401 - whatever a server sends
    if element >= len(values):
        raise Unfit(f"the array has {len(values)} elements", Reason.NOT_FOUND)
    return unwrapped(values[element])


def _simple(value: Any, variant: ua.Variant | None) -> Value:  # noqa: ANN401 - whatever a server sends
    if value is None and variant is not None and variant.VariantType is ua.VariantType.String:
        return ""  # a null string in an array
    if isinstance(value, str):
        return utf8(value)
    if isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return int(value)  # the number of an enumeration value
    text = text_of(value)
    if text is None:
        raise Unfit(f"the server sent {kind_of(value, variant)}")
    return text
