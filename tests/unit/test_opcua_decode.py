"""A publish response becomes columns: the same values as asyncua reads, and those of Part 6 where it reads others."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import pytest
from asyncua import ua
from asyncua.ua.ua_binary import struct_from_binary, struct_to_binary, variant_to_binary
from hypothesis import given
from hypothesis import strategies as st
from opcua_messages import (
    NULL_TIME,
    RESPONSES,
    SCALARS,
    SERVER,
    SOURCE,
    VARIANTS,
    K,
    data_value,
    data_values,
    envelope,
    of_items,
    of_kind,
    of_notifications,
    of_raw_items,
)

from drivers.opcua.codec.data_changes import microseconds as from_ticks
from drivers.opcua.codec.publish_response import publish_response, republish_response
from drivers.opcua.codec.values import microseconds
from drivers.opcua.codec.variant import variant

if TYPE_CHECKING:
    from datetime import datetime

TICKS, MICROSECONDS = 134_084_736_001_234_560, 1_764_000_000_123_456


def time_of(given: datetime | None) -> int | None:
    return None if given is None or given == NULL_TIME else microseconds(given)


def assert_same(found: object, expected: object) -> None:
    """Compare types and representations: NaN differs from itself."""
    assert type(found) is type(expected)
    assert repr(found) == repr(expected)


# -- the same as asyncua --


def value_of(variant: ua.Variant) -> Any:
    """Return the value that asyncua reads, with an empty string for a null string (Part 6, 5.1.11)."""
    null = variant.Value is None and variant.VariantType is ua.VariantType.String and not variant.is_array
    return "" if null else variant.Value


@pytest.mark.slow
@given(RESPONSES)
def test_a_response_says_what_asyncua_reads_in_it(response: ua.PublishResponse) -> None:
    """Value by value, whatever the message is made of."""
    message = struct_to_binary(response)
    expected = struct_from_binary(ua.PublishResponse, ua.utils.Buffer(message)).Parameters
    found = publish_response(message)
    assert found.subscription_id == expected.SubscriptionId
    assert found.available_sequence_numbers == expected.AvailableSequenceNumbers
    assert found.more_notifications is expected.MoreNotifications
    assert found.results == [result.value for result in expected.Results]
    expected_message = expected.NotificationMessage
    assert found.message.sequence_number == expected_message.SequenceNumber
    assert found.message.publish_time == time_of(expected_message.PublishTime)
    of: dict[type, list[Any]] = {}
    for notification in expected_message.NotificationData:
        of.setdefault(type(notification), []).append(notification)
    items = [item for one in of.get(ua.DataChangeNotification, ()) for item in one.MonitoredItems]
    changes = found.message.changes
    assert changes.handles == [item.ClientHandle for item in items]
    assert changes.statuses == [item.Value.StatusCode.value for item in items]
    assert changes.source_times == [time_of(item.Value.SourceTimestamp) for item in items]
    assert changes.server_times == [time_of(item.Value.ServerTimestamp) for item in items]
    assert_same(changes.values, [value_of(item.Value.Value) for item in items])
    for position, rare in changes.variants.items():
        assert_same(rare, items[position].Value.Value)
    events = [event for one in of.get(ua.EventNotificationList, ()) for event in one.Events]
    assert_same(found.message.events, [(one.ClientHandle, list(map(value_of, one.EventFields))) for one in events])
    statuses = [one.Status.value for one in of.get(ua.StatusChangeNotification, ())]
    assert found.message.status_change == (statuses[-1] if statuses else None)


@pytest.mark.slow
@pytest.mark.parametrize("kind", SCALARS, ids=lambda kind: kind.name)
def test_every_type_is_read_as_asyncua_reads_it(kind: ua.VariantType) -> None:
    """This includes its array, matrix and null array, each with every time and status."""

    @given(of_kind(kind, SCALARS[kind]), data_values(st.just(None)))
    def check(value: ua.Variant, around: ua.DataValue) -> None:
        around.Value = value
        message = of_items(around, around)
        notifications = struct_from_binary(
            ua.PublishResponse, ua.utils.Buffer(message)
        ).Parameters.NotificationMessage
        expected = notifications.NotificationData[0].MonitoredItems[0].Value.Value
        changes = publish_response(message).message.changes
        assert_same(changes.values, [expected.Value] * 2)
        fast = kind <= K.DateTime and not value.is_array
        assert set(changes.variants) == (set() if fast else {0, 1})

    check()


@pytest.mark.slow
@given(st.lists(st.tuples(VARIANTS, st.integers(0, 15)), min_size=20, max_size=60))
def test_changes_keep_their_order_among_others(values: list[tuple[ua.Variant, int]]) -> None:
    """Those read fast and those read slowly go into the same columns."""
    sent = [
        data_value(
            value if mask & 1 else None,
            0x80340000 if mask & 2 else None,
            SOURCE if mask & 4 else None,
            SERVER if mask & 8 else None,
        )
        for value, mask in values
    ]
    changes = publish_response(of_items(*sent)).message.changes
    assert changes.handles == list(range(len(sent)))
    assert [status != 0 for status in changes.statuses] == [bool(mask & 2) for _, mask in values]
    assert [at is not None for at in changes.source_times] == [bool(mask & 4) for _, mask in values]
    assert [at is not None for at in changes.server_times] == [bool(mask & 8) for _, mask in values]


RUNS = st.lists(
    st.tuples(st.sampled_from([*SCALARS]), st.integers(0, 15), st.integers(1, 150)), min_size=1, max_size=6
)
"""A type, the mask of the sent fields, and the number of adjacent changes of that form."""


@given(RUNS, st.data())
def test_adjacent_changes_of_one_form_are_read_as_asyncua_reads_them(
    runs: list[tuple[ua.VariantType, int, int]], data: st.DataObject
) -> None:
    """The decoder reads changes of one form together, whatever their number and whatever follows."""
    sent = []
    for kind, mask, number in runs:
        value = ua.Variant(data.draw(SCALARS[kind]), kind)
        times = (SOURCE if mask & 4 else None, SERVER if mask & 8 else None)
        sent += [data_value(value if mask & 1 else None, 0x80340000 if mask & 2 else None, *times)] * number
    message = of_items(*sent)
    [expected] = struct_from_binary(
        ua.PublishResponse, ua.utils.Buffer(message)
    ).Parameters.NotificationMessage.NotificationData
    changes = publish_response(message).message.changes
    values = [None if item.Value.Value is None else item.Value.Value.Value for item in expected.MonitoredItems]
    assert_same(changes.values, values)
    assert changes.handles == list(range(len(sent)))
    assert [status != 0 for status in changes.statuses] == [one.StatusCode is not None for one in sent]
    assert changes.source_times == [time_of(item.Value.SourceTimestamp) for item in expected.MonitoredItems]
    assert changes.server_times == [time_of(item.Value.ServerTimestamp) for item in expected.MonitoredItems]


# -- by the specification --


@pytest.mark.parametrize("value", [(b"\x0b" + struct.pack("<d", 1.5), 1.5), (b"\x0c\x02\0\0\0ab", "ab")])
def test_every_mask_is_read_in_the_order_of_the_specification(value: tuple[bytes, Any]) -> None:
    """Picoseconds follow their time directly (Part 6, 5.2.2.17); asyncua mistakes them for the next time."""
    parts = {
        1: value[0],
        2: struct.pack("<I", 0x80340000),
        4: struct.pack("<q", TICKS),
        0x10: b"\x01\x00",
        8: struct.pack("<q", TICKS + 10),
        0x20: b"\xff\xff",
    }
    for mask in range(64):
        item = struct.pack("<IB", 9, mask) + b"".join(part for bit, part in parts.items() if mask & bit)
        changes = publish_response(of_raw_items(item, item)).message.changes
        assert changes.handles == [9, 9]
        assert changes.values == [value[1] if mask & 1 else None] * 2
        assert changes.statuses == [0x80340000 if mask & 2 else 0] * 2
        assert changes.source_times == [MICROSECONDS if mask & 4 else None] * 2
        assert changes.server_times == [MICROSECONDS + 1 if mask & 8 else None] * 2


def test_a_data_value_as_a_value_has_its_times_in_the_order_of_the_specification() -> None:
    """The order is the same as in a data value outside of a variant."""
    raw = b"\x17\x3c" + struct.pack("<qHqH", TICKS, 1, TICKS + 10_000_000, 2)
    found, end = variant(raw, 0)
    assert end == len(raw)
    assert (found.Value.SourceTimestamp, found.Value.SourcePicoseconds) == (SOURCE, 1)
    assert (found.Value.ServerTimestamp, found.Value.ServerPicoseconds) == (SOURCE.replace(second=1), 2)


def test_diagnostics_are_read_as_the_specification_has_them() -> None:
    """With those of the inner status inline (Part 6, 5.2.2.12), where asyncua expects an extension object."""
    inner = b"\x08" + struct.pack("<i", 3)
    raw = b"\x19\x7f" + struct.pack("<iiii", 1, 2, 3, 4) + struct.pack("<i", 1) + b"x" + struct.pack("<I", 5) + inner
    found, end = variant(raw, 0)
    assert end == len(raw)
    info = found.Value
    assert (info.SymbolicId, info.NamespaceURI, info.Locale, info.LocalizedText) == (1, 2, 3, 4)
    assert (info.AdditionalInfo, info.InnerStatusCode) == ("x", ua.StatusCode(5))
    assert (info.InnerDiagnosticInfo.Locale, info.InnerDiagnosticInfo.LocalizedText) == (3, None)


@pytest.mark.parametrize(
    ("ticks", "expected"),
    [
        (0, None),
        (-1, None),
        (-(2**63), None),
        (1, -11_644_473_600_000_000),
        (TICKS, MICROSECONDS),
        (TICKS + 9, MICROSECONDS),  # cut, not rounded
        (TICKS - 1, MICROSECONDS - 1),
        (116_444_736_000_000_000, 0),
        (116_444_735_999_999_999, -1),
        (2_650_467_743_989_999_999, 253_402_300_798_999_999),
        (2_650_467_743_990_000_000, 253_402_300_799_000_000),
        (2**63 - 1, 253_402_300_799_000_000),
    ],
)
def test_times_are_reckoned_in_whole_numbers(ticks: int, expected: int | None) -> None:
    """Zero and negative numbers mean no time; 9999 is the last year (Part 6, 5.2.2.5)."""
    assert from_ticks([ticks]) == [expected]


@given(st.integers(1, 2_650_467_743_990_000_000))
def test_times_are_those_that_asyncua_makes(ticks: int) -> None:
    """A point that is pushed has the time that it would have when read."""
    assert from_ticks([ticks]) == [microseconds(ua.win_epoch_to_datetime(ticks))]


def test_a_keep_alive_has_a_number_and_nothing_else() -> None:
    """It says which message comes next, and that the server lives (Part 4, 5.14.1.1)."""
    found = publish_response(of_notifications())
    assert (found.subscription_id, found.message.sequence_number, found.message.publish_time) == (7, 5, MICROSECONDS)
    assert (found.message.changes.handles, found.message.events, found.message.status_change) == ([], [], None)


def test_a_missed_notification_is_read_from_a_republish_response() -> None:
    """It has the same message (Part 4, 5.14.6)."""
    response = ua.RepublishResponse()
    item = ua.MonitoredItemNotification(3, ua.DataValue(ua.Variant(1.5)))
    response.NotificationMessage = ua.NotificationMessage(5, SOURCE, [ua.DataChangeNotification([item])])
    found = republish_response(struct_to_binary(response))
    assert (found.sequence_number, found.changes.handles, found.changes.values) == (5, [3], [1.5])


def test_a_notification_may_leave_its_length_open() -> None:
    """Old servers do so; the type of the notification says where it ends."""
    message = of_items(ua.DataValue(ua.Variant(1.5)))
    at = message.index(b"\x2b\x03\x01") + 3
    found = publish_response(message[:at] + b"\xff\xff\xff\xff" + message[at + 4 :])
    assert found.message.changes.values == [1.5]


@pytest.mark.parametrize("form", [b"\x02\x00\x00\x2b\x03\x00\x00", b"\x01\x00\x2b\x03"])
def test_the_type_of_a_notification_may_be_written_long_or_short(form: bytes) -> None:
    """A node id has several forms on the wire (Part 6, 5.2.2.9)."""
    body = struct.pack("<ii", 0, 0)
    found = publish_response(envelope(form + struct.pack("<Bi", 1, len(body)) + body))
    assert found.message.changes.handles == []


def test_a_structure_of_another_edition_stays_as_it_was_sent() -> None:
    """One new member of an enumeration must not cost the other thousand values."""
    sent = ua.RedundantServerDataType("urn:a", 200, ua.ServerState.Running)
    raw = variant_to_binary(ua.Variant(sent))
    found, _ = variant(raw, 0)
    assert found.Value == sent
    later = raw[:-4] + struct.pack("<i", 99)
    found, end = variant(later, 0)
    assert end == len(later)
    assert isinstance(found.Value, ua.ExtensionObject)
    assert found.Value.Body.endswith(struct.pack("<i", 99))


def test_a_structure_with_more_than_its_type_has_stays_as_it_was_sent() -> None:
    """A later edition may have more fields; asyncua would leave out fields that a consumer may need."""
    raw = variant_to_binary(ua.Variant(ua.ExtensionObject(ua.NodeId(886, 0), struct.pack("<ddi", 1, 2, 3))))
    found, end = variant(raw, 0)
    assert end == len(raw)
    assert found.Value.Body == struct.pack("<ddi", 1, 2, 3)


def test_an_array_of_three_dimensions_is_lists_in_lists_in_lists() -> None:
    """The last dimension changes fastest (Part 6, 5.2.2.16)."""
    raw = b"\xc3" + struct.pack("<i", 12) + bytes(range(12)) + struct.pack("<iiii", 3, 2, 3, 2)
    found, end = variant(raw, 0)
    assert end == len(raw)
    assert found.Value == [[[0, 1], [2, 3], [4, 5]], [[6, 7], [8, 9], [10, 11]]]
    assert found.Dimensions == [2, 3, 2]


def test_a_structure_with_values_of_any_type_stays_as_it_was_sent() -> None:
    """asyncua would follow the counts inside; a caller can still decode the structure."""
    sent = ua.KeyValuePair(ua.QualifiedName("a"), ua.Variant(1.5))
    found, _ = variant(variant_to_binary(ua.Variant(sent)), 0)
    assert isinstance(found.Value, ua.ExtensionObject)
    assert struct_from_binary(ua.KeyValuePair, ua.utils.Buffer(found.Value.Body)) == sent


def test_unknown_builtin_types_are_read_as_byte_strings() -> None:
    """The specification requires it (Part 6, 5.2.2.16)."""
    found, _ = variant(b"\x1f" + struct.pack("<i", 2) + b"ab", 0)
    assert (found.Value, found.VariantType.value) == (b"ab", 31)
