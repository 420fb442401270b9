"""Selects the fields of events and alarms (Part 5, 6.4; Part 9), and makes the text of an event. Pure functions.

An event is a reading whose value is a JSON object as text:

    {"id": "5f1c...", "type": "ExclusiveLevelAlarmType", "source": "Boiler", "condition": "Level", "severity": 700,
     "message": "level high", "active": true, "acknowledged": false}

`severity` is 1 to 1000 (Part 5, 6.4.2). Only alarms have `condition`, `active` and `acknowledged`; else null.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
from asyncua import ua

from drivers.opcua.codec.values import microseconds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_BASE, _CONDITION = ua.ObjectIds.BaseEventType, ua.ObjectIds.ConditionType
_ACKNOWLEDGEABLE, _ALARM = ua.ObjectIds.AcknowledgeableConditionType, ua.ObjectIds.AlarmConditionType

FIELDS: tuple[tuple[int, tuple[str, ...]], ...] = (
    (_BASE, ("EventId",)),
    (_BASE, ("EventType",)),
    (_BASE, ("SourceName",)),
    (_BASE, ("Time",)),
    (_BASE, ("Severity",)),
    (_BASE, ("Message",)),
    (_CONDITION, ("ConditionName",)),
    (_ALARM, ("ActiveState", "Id")),
    (_ACKNOWLEDGEABLE, ("AckedState", "Id")),
    (_CONDITION, ()),  # the node id of the condition itself (Part 9, 5.5.2)
    (_BASE, ("SourceNode",)),
    (_CONDITION, ("BranchId",)),
    (_CONDITION, ("Retain",)),
)
"""The selected fields: the type that has them, and their browse names."""

_TEXT_FIELDS = 9
"""Fields in the text of an event; the other fields identify alarms."""

QUEUE_OVERFLOW = ua.ObjectIds.EventQueueOverflowEventType
"""Events were lost in a full queue (Part 4, 7.22.3)."""

_BOOKKEEPING = {ua.ObjectIds.RefreshStartEventType, ua.ObjectIds.RefreshEndEventType,
                ua.ObjectIds.RefreshRequiredEventType, QUEUE_OVERFLOW}  # fmt: skip
"""Events about the refresh itself (Part 9, 5.11)."""


class Event(NamedTuple):
    """One event: its id, its time in microseconds since the epoch, or None without a time, and its text.

    `alarm` identifies the alarm of the event, and `active` is its state; both are None without an alarm.
    """

    id: bytes
    time: int | None
    text: str
    alarm: tuple[str, ...] | None = None
    active: bool | None = None


def event_filter() -> ua.EventFilter:
    """Return the filter: all fields, of every event."""
    clauses = [
        ua.SimpleAttributeOperand(
            TypeDefinitionId=ua.NodeId(ua.Int32(type_)),
            BrowsePath=[ua.QualifiedName(name, ua.UInt16(0)) for name in path],
            AttributeId=ua.IntegerId(ua.AttributeIds.Value if path else ua.AttributeIds.NodeId),
        )
        for type_, path in FIELDS
    ]
    return ua.EventFilter(SelectClauses=clauses, WhereClause=ua.ContentFilter())


def event_of(values: Sequence[Any], names: Mapping[ua.NodeId, str]) -> Event | None:
    """Return an event, given its fields in the order of `FIELDS`; None for events about the refresh itself.

    `names` are the known names of event types.
    """
    fields = [*values, *[None] * (len(FIELDS) - len(values))]
    id_, type_, source, time, severity, message, condition, active, acknowledged = fields[:_TEXT_FIELDS]
    if standard_type(fields) in _BOOKKEEPING:
        return None
    parts: dict[str, Any] = {
        "id": id_.hex() if isinstance(id_, bytes) else "",
        "type": names.get(type_, "") or (type_.to_string() if isinstance(type_, ua.NodeId) else ""),
        "source": source if isinstance(source, str) else "",
        "condition": condition if isinstance(condition, str) else None,
        "severity": int(severity) if isinstance(severity, int) else None,
        "message": _text(message),
        "active": active if isinstance(active, bool) else None,
        "acknowledged": acknowledged if isinstance(acknowledged, bool) else None,
    }
    when = microseconds(time) if isinstance(time, datetime) else None
    alarm = (
        None if parts["condition"] is None else _identity(parts["source"], parts["condition"], fields[_TEXT_FIELDS:])
    )
    id_ = id_ if isinstance(id_, bytes) else b""
    return Event(id_, when, orjson.dumps(parts).decode(), alarm, parts["active"])


def _identity(source: str, condition: str, fields: Sequence[Any]) -> tuple[str, ...]:
    """Return the identity of an alarm: its node and branch, or its names if the server sends no node ids.

    Two motors may both have a source Motor and a condition Overtemperature. A branch is an earlier state of an alarm
    that is not yet acknowledged (Part 9, 5.5.2); it ends on its own.
    """
    node, source_node, branch, _ = fields[: len(FIELDS) - _TEXT_FIELDS]
    ids = [one.to_string() if isinstance(one, ua.NodeId) and not one.is_null() else "" for one in
           (node, source_node, branch)]  # fmt: skip
    return (ids[0], ids[2]) if ids[0] else (source, condition, ids[1], ids[2])


def standard_type(values: Sequence[Any]) -> int | None:
    """Return the number of an event's type in namespace 0, None for types of other namespaces."""
    type_ = values[1] if len(values) > 1 else None
    number = type_.Identifier if isinstance(type_, ua.NodeId) and type_.NamespaceIndex == 0 else None
    return number if isinstance(number, int) else None


def _text(message: Any) -> str:  # noqa: ANN401 - whatever a server sends
    text = message.Text if isinstance(message, ua.LocalizedText) else message
    return text.encode("utf-8", "replace").decode() if isinstance(text, str) else ""
