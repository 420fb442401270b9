"""Publish responses, as OPC UA servers may send them: made by asyncua, or byte by byte where it makes them wrong."""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from typing import Any

from asyncua import ua
from asyncua.ua.ua_binary import struct_to_binary
from hypothesis import strategies as st

K = ua.VariantType
SOURCE = datetime(2025, 11, 24, 16, 0, 0, 123456, tzinfo=UTC)
SERVER = datetime(2025, 11, 24, 16, 0, 1, tzinfo=UTC)
NULL_TIME = datetime(1601, 1, 1, tzinfo=UTC)

TIMES = st.datetimes(datetime(1601, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001 - made UTC
TEXTS = st.text(max_size=9) | st.binary(max_size=5).map(lambda raw: raw.decode("utf-8", "surrogateescape"))
STATUSES = st.sampled_from([0, 0x80340000, 0x40900000, 0x00000480]) | st.integers(0, 2**32 - 1)
NODES = st.one_of(
    st.builds(ua.NodeId, st.integers(0, 2**32 - 1), st.integers(0, 2**16 - 1), st.just(ua.NodeIdType.Numeric)),
    st.builds(ua.NodeId, TEXTS, st.integers(0, 9), st.just(ua.NodeIdType.String)),
    st.builds(ua.NodeId, st.binary(max_size=5), st.integers(0, 9), st.just(ua.NodeIdType.ByteString)),
    st.builds(ua.NodeId, st.uuids(), st.integers(0, 9), st.just(ua.NodeIdType.Guid)),
    st.builds(ua.NodeId, st.integers(0, 255), st.just(0), st.just(ua.NodeIdType.TwoByte)),
)
LOCALIZED = st.builds(ua.LocalizedText, st.none() | TEXTS, st.none() | TEXTS)
DIAGNOSTICS = st.builds(
    lambda locale, **rest: ua.DiagnosticInfo(Locale=locale, LocalizedText=locale, **rest),  # asyncua mixes them up
    st.none() | st.integers(0, 9),
    SymbolicId=st.none() | st.integers(-1, 9),
    NamespaceURI=st.none() | st.integers(-1, 9),
    AdditionalInfo=st.none() | TEXTS,
    InnerStatusCode=st.none() | st.builds(ua.StatusCode, STATUSES),
)
STRUCTURES = st.one_of(
    st.builds(ua.Range, st.floats(), st.floats()),
    st.builds(ua.EUInformation, TEXTS, st.integers(-9, 9), LOCALIZED, LOCALIZED),
    st.builds(ua.Argument, TEXTS, NODES, st.integers(-3, 3), st.lists(st.integers(0, 9), max_size=3), LOCALIZED),
    st.builds(ua.ServerStatusDataType, TIMES, TIMES, st.sampled_from(ua.ServerState)),
    st.builds(ua.ExtensionObject, st.just(ua.NodeId(5005, 3)), st.binary(min_size=1, max_size=9)),
    st.builds(ua.ExtensionObject, st.just(ua.NodeId(5005, 3))),
)


def whole(bits: int, *, signed: bool) -> st.SearchStrategy[int]:
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    return st.integers(low, high)


SCALARS: dict[ua.VariantType, st.SearchStrategy[Any]] = {
    K.Boolean: st.booleans(),
    K.SByte: whole(8, signed=True),
    K.Byte: whole(8, signed=False),
    K.Int16: whole(16, signed=True),
    K.UInt16: whole(16, signed=False),
    K.Int32: whole(32, signed=True),
    K.UInt32: whole(32, signed=False),
    K.Int64: whole(64, signed=True),
    K.UInt64: whole(64, signed=False),
    K.Float: st.floats(width=32),
    K.Double: st.floats(),
    K.String: TEXTS,
    K.DateTime: TIMES,
    K.Guid: st.uuids(),
    K.ByteString: st.binary(max_size=9),
    K.XmlElement: st.builds(ua.XmlElement, TEXTS),
    K.NodeId: NODES,
    K.ExpandedNodeId: st.builds(
        ua.ExpandedNodeId,
        st.integers(0, 9),
        st.integers(0, 9),
        st.just(ua.NodeIdType.Numeric),
        TEXTS,
        st.integers(1, 9),
    ),
    K.StatusCode: st.builds(ua.StatusCode, STATUSES),
    K.QualifiedName: st.builds(ua.QualifiedName, TEXTS, st.integers(0, 9)),
    K.LocalizedText: LOCALIZED,
    K.ExtensionObject: STRUCTURES,
    K.DiagnosticInfo: DIAGNOSTICS,
}
NULLS = [ua.Variant(None, kind) for kind in (K.Null, K.String, K.ByteString, K.ExtensionObject)]


def arrays(kind: ua.VariantType, values: st.SearchStrategy[Any]) -> st.SearchStrategy[ua.Variant]:
    pairs = st.lists(values, min_size=2, max_size=2)
    return st.one_of(
        st.builds(ua.Variant, st.lists(values, max_size=4), st.just(kind)),
        st.builds(ua.Variant, st.lists(pairs, min_size=1, max_size=3), st.just(kind)),
        st.just(ua.Variant(None, kind, is_array=True)),
    )


def of_kind(kind: ua.VariantType, values: st.SearchStrategy[Any]) -> st.SearchStrategy[ua.Variant]:
    return st.builds(ua.Variant, values, st.just(kind)) | arrays(kind, values)


OF_ALL_KINDS = st.sampled_from(NULLS) | st.one_of(*(of_kind(kind, values) for kind, values in SCALARS.items()))


@st.composite
def one_of_all_kinds(draw: st.DrawFn) -> ua.Variant:
    """Hide the strategy behind a function: hypothesis would print a hundred kilobytes of it."""
    return draw(OF_ALL_KINDS)


PLAIN = one_of_all_kinds()


def data_values(values: st.SearchStrategy[ua.Variant | None]) -> st.SearchStrategy[ua.DataValue]:
    """Any parts of a data value but those which asyncua writes in another order than Part 6 has them."""
    times = st.none() | TIMES | st.just(NULL_TIME)
    fractions = st.none() | st.integers(0, 9999)
    return st.one_of(
        st.builds(data_value, values, st.none() | STATUSES, times, times, st.none(), fractions),
        st.builds(data_value, values, st.none() | STATUSES, times, st.none(), fractions, fractions),
    )


def data_value(value: ua.Variant | None, status: int | None, *times: Any) -> ua.DataValue:
    made = ua.DataValue(None, None if status is None else ua.StatusCode(status), *times)
    made.Value = value  # not in the constructor, which would make a variant of None
    return made


NESTED = arrays(K.Variant, PLAIN) | of_kind(K.DataValue, data_values(PLAIN))
VARIANTS = PLAIN | NESTED
ITEMS = st.builds(ua.MonitoredItemNotification, whole(32, signed=False), data_values(st.none() | VARIANTS))
DATA_CHANGES = st.builds(ua.DataChangeNotification, st.lists(ITEMS, max_size=6), st.lists(DIAGNOSTICS, max_size=2))
EVENTS = st.builds(
    ua.EventNotificationList,
    st.lists(st.builds(ua.EventFieldList, whole(32, signed=False), st.lists(VARIANTS, max_size=3)), max_size=3),
)
STATUS_CHANGES = st.builds(ua.StatusChangeNotification, st.builds(ua.StatusCode, STATUSES), DIAGNOSTICS)
NUMBERS = st.lists(whole(32, signed=False), max_size=3)
RESPONSES = st.builds(
    ua.PublishResponse,
    ResponseHeader=st.builds(
        ua.ResponseHeader,
        TIMES,
        whole(32, signed=False),
        st.builds(ua.StatusCode, st.sampled_from([0, 0x40000000])),
        DIAGNOSTICS,
        st.lists(TEXTS, max_size=2),
        STRUCTURES.filter(lambda one: isinstance(one, ua.ExtensionObject)) | st.just(ua.ExtensionObject()),
    ),
    Parameters=st.builds(
        ua.PublishResult,
        whole(32, signed=False),
        NUMBERS,
        st.booleans(),
        st.builds(
            ua.NotificationMessage,
            whole(32, signed=False),
            TIMES,
            st.lists(DATA_CHANGES | EVENTS | STATUS_CHANGES, max_size=3),
        ),
        st.lists(st.builds(ua.StatusCode, STATUSES), max_size=3),
        st.lists(DIAGNOSTICS, max_size=2),
    ),
)


def of_items(*values: ua.DataValue) -> bytes:
    """A message with these values, of the handles 0, 1, 2 and so on."""
    items = [ua.MonitoredItemNotification(handle, value) for handle, value in enumerate(values)]
    return of_notifications(ua.DataChangeNotification(items))


def of_notifications(*notifications: Any) -> bytes:
    response = ua.PublishResponse(ResponseHeader=ua.ResponseHeader(SOURCE))
    response.Parameters.SubscriptionId = 7
    response.Parameters.NotificationMessage = ua.NotificationMessage(5, SOURCE, list(notifications))
    return struct_to_binary(response)


def of_raw_items(*items: bytes, count: int | None = None) -> bytes:
    """Return a message with items as they are on the wire; `count` is the number of items that it declares."""
    body = struct.pack("<i", len(items) if count is None else count) + b"".join(items) + struct.pack("<i", 0)
    frame = b"\x01\x00" + struct.pack("<HBi", 811, 1, len(body))
    return envelope(frame + body)


def envelope(*notifications: bytes) -> bytes:
    """A publish response around notifications in their frames."""
    message = of_notifications()
    head, tail = message[:-12], message[-8:]  # between them no notifications, behind them no results
    return head + struct.pack("<i", len(notifications)) + b"".join(notifications) + tail


def rich_message() -> bytes:
    """A message with something of everything."""
    values = [
        ua.Variant(1.5),
        ua.Variant("Drum", K.String),
        ua.Variant([[1, 2], [3, 4]], K.Int16),
        ua.Variant(["a", "b"], K.String),
        ua.Variant([ua.Variant(1), ua.Variant([True])], K.Variant),
        ua.Variant(ua.LocalizedText("Läuft", "de")),
        ua.Variant(ua.Argument("a", ua.NodeId("x", 2), -1, [3], ua.LocalizedText("b"))),
        ua.Variant([ua.EUInformation("urn", 1)], K.ExtensionObject),
        ua.Variant(ua.DataValue(ua.Variant(b"ab"), SourceTimestamp=SOURCE)),
        ua.Variant(ua.DiagnosticInfo(SymbolicId=1, AdditionalInfo="x")),
    ]
    items = [
        ua.MonitoredItemNotification(i, ua.DataValue(value, SourceTimestamp=SOURCE, ServerTimestamp=SERVER))
        for i, value in enumerate(values)
    ]
    response = ua.PublishResponse()
    response.ResponseHeader = ua.ResponseHeader(
        SOURCE, 3, ServiceDiagnostics=ua.DiagnosticInfo(SymbolicId=0), StringTable=["text"]
    )
    response.Parameters = ua.PublishResult(
        7,
        [4, 5],
        False,  # noqa: FBT003 - its constructor's order
        ua.NotificationMessage(
            5,
            SOURCE,
            [
                ua.DataChangeNotification(items, [ua.DiagnosticInfo(AdditionalInfo="y")]),
                ua.EventNotificationList([ua.EventFieldList(1, values)]),
                ua.StatusChangeNotification(ua.StatusCode(0x80AB0000)),
            ],
        ),
        [ua.StatusCode(0)],
        [ua.DiagnosticInfo(SymbolicId=1)],
    )
    return struct_to_binary(response)


RICH = rich_message()
