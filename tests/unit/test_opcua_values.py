"""Data values of an OPC UA server become values, faults and times."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import orjson
import pytest
from asyncua import ua
from asyncua.ua.status_codes import code_to_name_doc
from asyncua.ua.ua_binary import struct_to_binary
from hypothesis import given
from hypothesis import strategies as st

from drivers.base import Fault, Quality, Reason, Value
from drivers.opcua.codec.publish_response import read_response
from drivers.opcua.codec.values import fault_of, microseconds, reading

NOW = 1_764_000_000_000_000
SOURCE = datetime(2025, 11, 24, 16, 0, 0, 123456, tzinfo=UTC)
SERVER = datetime(2025, 11, 24, 16, 0, 1, tzinfo=UTC)
SOURCE_MICROSECONDS = 1_764_000_000_123_456


def data(value: Any = 1.5, kind: ua.VariantType | None = None, status: int = 0, **times: datetime) -> ua.DataValue:
    return ua.DataValue(ua.Variant(value, kind), ua.StatusCode(status), **times)


def reading_of(data: ua.DataValue, **picked: Any) -> tuple[Value | None, Fault | None]:
    """Return value and fault of a data value that a server sends."""
    response = struct_to_binary(ua.ReadResponse(Results=[data]))
    [value], [status], variants = (got := read_response(response, 1)).values, got.statuses, got.variants
    return reading(value, status, variants.get(0), **picked)


# -- status codes --


@pytest.mark.parametrize(
    ("status", "quality", "reason", "code"),
    [
        (0x80340000, Quality.BAD, Reason.NOT_FOUND, "0x80340000 BadNodeIdUnknown"),
        (0x80350000, Quality.BAD, Reason.NOT_FOUND, "0x80350000 BadAttributeIdInvalid"),
        (0x803A0000, Quality.BAD, Reason.REFUSED, "0x803A0000 BadNotReadable"),
        (0x801F0000, Quality.BAD, Reason.REFUSED, "0x801F0000 BadUserAccessDenied"),
        (0x80310000, Quality.BAD, Reason.NO_RESPONSE, "0x80310000 BadNoCommunication"),
        (0x80320000, Quality.BAD, Reason.NO_RESPONSE, "0x80320000 BadWaitingForInitialData"),
        (0x808C0000, Quality.BAD, Reason.DEVICE_FAULT, "0x808C0000 BadSensorFailure"),
        (0x803C0000, Quality.BAD, Reason.OUT_OF_RANGE, "0x803C0000 BadOutOfRange"),
        (0x80000000, Quality.BAD, Reason.OTHER, "0x80000000 Bad"),
        (0x80FF0000, Quality.BAD, Reason.OTHER, "0x80FF0000 Bad"),  # one that nobody knows
        (0xC0000000, Quality.BAD, Reason.OTHER, "0xC0000000 Bad"),  # the reserved severity is bad as well
        (0x40900000, Quality.UNCERTAIN, Reason.STALE, "0x40900000 UncertainLastUsableValue"),
        (0x408F0000, Quality.UNCERTAIN, Reason.STALE, "0x408F0000 UncertainNoCommunicationLastUsableValue"),
        (0x40930000, Quality.UNCERTAIN, Reason.DEVICE_FAULT, "0x40930000 UncertainSensorNotAccurate"),
        (0x40940000, Quality.UNCERTAIN, Reason.OUT_OF_RANGE, "0x40940000 UncertainEngineeringUnitsExceeded"),
        (0x40000000, Quality.UNCERTAIN, Reason.OTHER, "0x40000000 Uncertain"),
        (0x80340483, Quality.BAD, Reason.NOT_FOUND, "0x80340483 BadNodeIdUnknown"),  # with information bits
    ],
)  # fmt: skip
def test_a_status_becomes_a_fault(status: int, quality: Quality, reason: Reason, code: str) -> None:
    """With the protocol's own number and name beside the reason (Part 4, 7.39)."""
    fault = fault_of(status)
    assert fault is not None
    assert (fault.quality, fault.reason, fault.code) == (quality, reason, code)


@pytest.mark.parametrize("status", [0x00000000, 0x00960000, 0x00300000, 0x00000480, 0x3FFFFFFF])
def test_a_good_status_is_not_a_fault(status: int) -> None:
    """This includes information bits, such as a queue overflow or a clamped value."""
    assert fault_of(status) is None


def test_every_status_of_the_standard_is_as_bad_as_its_name_says() -> None:
    """The severity is in the two highest bits, and in the name."""
    for status, (name, _) in code_to_name_doc.items():
        fault = fault_of(status)
        quality = Quality.GOOD if fault is None else fault.quality
        if name.startswith(("Good", "Uncertain", "Bad")):
            assert name.startswith(quality.value.capitalize())


@given(st.integers(0, 2**32 - 1))
def test_every_number_is_some_status(status: int) -> None:
    """Vendors have codes of their own."""
    fault = fault_of(status)
    assert (fault is None) == (status < 0x40000000)
    assert fault is None or fault.code.startswith(f"0x{status:08X} ")


# -- values --


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (True, ua.VariantType.Boolean, True),
        (-5, ua.VariantType.SByte, -5),
        (2**63 - 1, ua.VariantType.Int64, 2**63 - 1),
        (2**64 - 1, ua.VariantType.UInt64, 2**64 - 1),
        (1.5, ua.VariantType.Float, 1.5),
        (171.8, ua.VariantType.Double, 171.8),
        ("Drum", ua.VariantType.String, "Drum"),
        ("", ua.VariantType.String, ""),
        ("压力", ua.VariantType.String, "压力"),
        (ua.LocalizedText("Läuft", "de"), None, "Läuft"),
        (ua.LocalizedText(None, "de"), None, ""),
    ],
)
def test_simple_values_are_returned_unchanged(value: Any, kind: ua.VariantType | None, expected: Any) -> None:
    """The gateway converts them to the declared type later."""
    found, fault = reading_of(data(value, kind))
    assert (found, fault) == (expected, None)
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("value", "kind", "code"),
    [
        (None, None, "the server sent null"),
        ([1.5, 2.5], ua.VariantType.Double, "the server sent an array of Double"),
    ],
)
def test_a_value_that_is_not_simple_is_a_type_mismatch(value: Any, kind: ua.VariantType | None, code: str) -> None:
    """The fault names the sent type, which saves half a day's search on site."""
    found, fault = reading_of(data(value, kind))
    assert found is None
    assert fault is not None
    assert (fault.quality, fault.reason, fault.code) == (Quality.BAD, Reason.TYPE_MISMATCH, code)


def test_a_bad_reading_has_no_value() -> None:
    """Servers send the last value along; it must not be read as a new value."""
    found, fault = reading_of(data(1.5, status=0x808C0000))
    assert found is None
    assert fault is not None
    assert fault.reason is Reason.DEVICE_FAULT


def test_an_uncertain_reading_keeps_its_value() -> None:
    """It also keeps its fault."""
    found, fault = reading_of(data(1.5, status=0x40900000))
    assert found == 1.5
    assert fault is not None
    assert fault.quality is Quality.UNCERTAIN


def test_an_uncertain_reading_without_a_value_is_bad() -> None:
    """A reading that has neither a value nor a bad fault would be nothing at all."""
    found, fault = reading_of(data(None, status=0x40900000))
    assert found is None
    assert fault is not None
    assert fault.quality is Quality.BAD


@given(st.binary(max_size=12))
def test_text_of_any_bytes_can_be_sent_on(raw: bytes) -> None:
    """Old servers send Latin-1 where UTF-8 belongs: one operator's name must not stop the gateway."""
    text = raw.decode("utf-8", "surrogateescape")  # as asyncua hands it over
    found, fault = reading_of(data(text, ua.VariantType.String))
    assert fault is None
    assert orjson.loads(orjson.dumps(found)) == found
    try:
        assert found == raw.decode()
    except UnicodeDecodeError:
        assert found == raw.decode("latin-1")


def test_a_value_without_anything_is_null() -> None:
    """All parts of a data value are optional on the wire (Part 6, 5.2.2.17)."""
    empty = ua.DataValue()
    empty.StatusCode = None
    empty.Value = None
    found, fault = reading_of(empty)
    assert found is None
    assert fault is not None
    assert fault.code == "the server sent null"


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (SOURCE, ua.VariantType.DateTime, "2025-11-24T16:00:00.123456Z"),
        (b"\x01\xff", ua.VariantType.ByteString, "01ff"),
        (UUID(int=7), ua.VariantType.Guid, "00000000-0000-0000-0000-000000000007"),
        (ua.NodeId("Drum", 2), None, "ns=2;s=Drum"),
        (ua.QualifiedName("Drum", 2), None, "Drum"),
        (ua.StatusCode(ua.StatusCodes.BadSensorFailure), ua.VariantType.StatusCode, "BadSensorFailure"),
    ],
)
def test_a_value_with_a_usual_text_form_is_that_text(value: Any, kind: ua.VariantType | None, expected: str) -> None:
    """A batch number that is a Guid, or the time of the last calibration, is worth keeping."""
    assert reading_of(data(value, kind)) == (expected, None)


def test_an_element_of_an_array_is_picked() -> None:
    """Zone temperatures come as one array from many machines."""
    zones = data([180.5, 182.0], ua.VariantType.Double)
    assert reading_of(zones, element=1) == (182.0, None)
    found, fault = reading_of(zones, element=2)
    assert (found, fault) == (None, Fault(Quality.BAD, Reason.NOT_FOUND, "the array has 2 elements"))
    _, fault = reading_of(data(1.5), element=0)
    assert fault == Fault(Quality.BAD, Reason.TYPE_MISMATCH, "float is not an array")


def test_a_field_of_one_structure_of_many_is_picked() -> None:
    """PackML counts each product so (OPC 30050)."""
    limits = data([ua.Range(Low=-5.0, High=5.0), ua.Range(Low=-6.0, High=6.0)])
    assert reading_of(limits, field=("High",), element=1) == (6.0, None)
    _, fault = reading_of(limits, field=("High",), element=2)
    assert fault == Fault(Quality.BAD, Reason.NOT_FOUND, "the array has 2 elements")
    _, fault = reading_of(limits, field=("High",))
    assert fault == Fault(Quality.BAD, Reason.TYPE_MISMATCH, "an array of ExtensionObject has no field High")


def test_a_field_of_a_structure_is_picked() -> None:
    """A structure combines related quantities; a point is one quantity of it."""
    limits = data(ua.ExtensionObject(), None)
    limits.Value = ua.Variant(ua.Range(Low=-5.0, High=5.0))
    assert reading_of(limits, field=("High",)) == (5.0, None)
    _, fault = reading_of(limits, field=("Middle",))
    assert fault == Fault(Quality.BAD, Reason.TYPE_MISMATCH, "a structure, Range has no field Middle")
    _, fault = reading_of(limits)
    assert fault is not None
    assert fault.code == "the server sent a structure, Range"


# -- times --


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        (SOURCE, SOURCE_MICROSECONDS),
        (SOURCE.replace(tzinfo=None), SOURCE_MICROSECONDS),  # said or not, OPC UA's times are UTC
        (SOURCE.astimezone(timezone(timedelta(hours=8))), SOURCE_MICROSECONDS),
        (datetime(1970, 1, 1, tzinfo=UTC), 0),
        (datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC), -1),
        (datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC), 253_402_300_799_000_000),
    ],
)
def test_times_are_microseconds_since_the_epoch(time: datetime, expected: int) -> None:
    """Reckoned in whole numbers: a float has no room for microseconds."""
    assert microseconds(time) == expected


def test_a_null_string_is_an_empty_string() -> None:
    """Part 6, 5.1.11: a server may send either, and means the same."""
    for value in (None, ""):
        assert reading_of(data(value, ua.VariantType.String)) == ("", None)
        assert reading_of(data(ua.LocalizedText(value), ua.VariantType.LocalizedText)) == ("", None)
        assert reading_of(data(["x", value], ua.VariantType.String), element=1) == ("", None)
        assert reading_of(data(ua.EUInformation(NamespaceUri=value), None), field=("NamespaceUri",)) == ("", None)


def test_a_field_that_was_not_sent_is_not_available() -> None:
    """Optional fields of structures are left out by machines that have nothing to say."""
    found, fault = reading({"Torque": None}, 0, None, ("Torque",))
    assert found is None
    assert fault is not None
    assert (fault.reason, fault.code) == (Reason.NOT_AVAILABLE, "the field Torque was not sent")
