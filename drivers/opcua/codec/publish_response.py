"""Decodes publish, republish and read responses (Part 4, 5.14.5), with data changes as columns. Pure functions."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from asyncua import ua

from drivers.opcua.codec.binary import UINT32, body, count, diagnostic, type_id
from drivers.opcua.codec.data_changes import DataChanges, microseconds, read_changes, read_value, read_values
from drivers.opcua.codec.response_header import malformed, parameters_at
from drivers.opcua.errors import MALFORMED, DecodeError

if TYPE_CHECKING:
    from drivers.opcua.codec.change_layouts import ChangeLayouts

_PUBLISH = ua.ObjectIds.PublishResponse_Encoding_DefaultBinary
_READ = ua.ObjectIds.ReadResponse_Encoding_DefaultBinary
_REPUBLISH = ua.ObjectIds.RepublishResponse_Encoding_DefaultBinary
_DATA_CHANGE = ua.ObjectIds.DataChangeNotification_Encoding_DefaultBinary
_EVENTS = ua.ObjectIds.EventNotificationList_Encoding_DefaultBinary
_STATUS_CHANGE = ua.ObjectIds.StatusChangeNotification_Encoding_DefaultBinary

_MESSAGE = struct.Struct("<Iq").unpack_from


@dataclass(slots=True)
class Notifications:
    """One notification message (Part 4, 7.26); a message without notifications is a keep-alive.

    `publish_time`   microseconds since the epoch, UTC; None if the server sent no time
    `changes`        the changes of all its data change notifications
    `events`         client handle and the values of the selected fields, of each event
    `status_change`  the new status of the subscription, sent when it ends; None otherwise
    """

    sequence_number: int
    publish_time: int | None
    changes: DataChanges
    events: list[tuple[int, list[Any]]]
    status_change: int | None

    @property
    def has_notifications(self) -> bool:
        """True if there are notifications; otherwise the message is a keep-alive."""
        return bool(self.changes.handles or self.events or self.status_change is not None)


@dataclass(slots=True)
class Published:
    """A publish response (Part 4, 5.14.5). `results` are the status codes of the acknowledgements that were sent."""

    subscription_id: int
    available_sequence_numbers: list[int]
    more_notifications: bool
    message: Notifications
    results: list[int]


def publish_response(message: bytes, layouts: ChangeLayouts | None = None) -> Published:
    """Decode the body of a publish response, from its type id on: `bytes(buffer)` of the buffer of asyncua.

    `layouts` are those of earlier responses of the session.

    Raises `ServiceFault` if the server refused, `DecodeError` for any other message.
    """
    try:
        at = parameters_at(message, _PUBLISH)
        subscription = UINT32(message, at)[0]
        available, at = _numbers(message, at + 4)
        more = message[at] != 0
        notifications, at = _notifications(message, at + 1, layouts)
        results, at = _numbers(message, at)
        _end(message, _skip_diagnostics(message, at), len(message), "the response")
    except DecodeError:
        raise
    except MALFORMED as error:
        raise malformed(message, error) from error
    return Published(subscription, available, more, notifications, results)


def republish_response(message: bytes) -> Notifications:
    """Decode the body of a republish response (Part 4, 5.14.6), as `publish_response` does."""
    try:
        notifications, at = _notifications(message, parameters_at(message, _REPUBLISH))
        _end(message, at, len(message), "the response")
    except DecodeError:
        raise
    except MALFORMED as error:
        raise malformed(message, error) from error
    return notifications


def read_response(message: bytes, expected: int) -> DataChanges:
    """Decode the body of a read response (Part 4, 5.11.2) with one value for each of the `expected` nodes.

    The columns are those of changes; their handles have no meaning.
    """
    changes = DataChanges()
    try:
        at = read_values(message, parameters_at(message, _READ), changes)
        _end(message, _skip_diagnostics(message, at), len(message), "the response")
    except DecodeError:
        raise
    except MALFORMED as error:
        raise malformed(message, error) from error
    if len(changes.values) != expected:
        raise DecodeError(f"{len(changes.values)} values came for {expected} nodes")
    return changes


def _notifications(data: bytes, at: int, layouts: ChangeLayouts | None = None) -> tuple[Notifications, int]:
    sequence, time = _MESSAGE(data, at)
    size, at = count(data, at + 12, 3)
    changes = DataChanges()
    events: list[tuple[int, list[Any]]] = []
    status_change = None
    for _ in range(size):
        begin = at
        kind, at = type_id(data, at)
        encoding, at, end = body(data, at)
        if encoding != 1:
            raise DecodeError(f"byte {begin}: a notification is encoded as 1, binary, not {encoding}")
        if kind == _DATA_CHANGE:
            at = _skip_diagnostics(data, read_changes(data, at, changes, layouts))
        elif kind == _EVENTS:
            at = _event_list(data, at, events)
        elif kind == _STATUS_CHANGE:
            status_change = UINT32(data, at)[0]
            _, at = diagnostic(data, at + 4)
        else:
            raise DecodeError(f"byte {begin}: {kind} is not a notification type")
        if end is not None:
            _end(data, at, end, "a notification")
    return Notifications(sequence, microseconds([time])[0], changes, events, status_change), at


def _event_list(data: bytes, at: int, events: list[tuple[int, list[Any]]]) -> int:
    """Read the events of a notification (Part 4, 7.25.3); return their end."""
    size, at = count(data, at, 8)
    for _ in range(size):
        handle = UINT32(data, at)[0]
        number, at = count(data, at + 4, 1)
        values = []
        for _ in range(number):
            value, _, at = read_value(data, at)
            values.append(value)
        events.append((handle, values))
    return at


def _numbers(data: bytes, at: int) -> tuple[list[int], int]:
    size, at = count(data, at, 4)
    return list(struct.unpack_from(f"<{size}I", data, at)), at + 4 * size


def _skip_diagnostics(data: bytes, at: int) -> int:
    size, at = count(data, at, 1)
    for _ in range(size):
        _, at = diagnostic(data, at)
    return at


def _end(data: bytes, at: int, end: int, what: str) -> None:
    """Raise `DecodeError` if a part is longer or shorter than its length says."""
    if at != end:
        raise DecodeError(f"{what} ends at byte {at}, not {end} of {len(data)}")
