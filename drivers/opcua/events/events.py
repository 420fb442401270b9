"""Selects the fields of events and alarms (Part 5, 6.4; Part 9), and makes the text of an event. Pure functions.

An event is a reading whose value is a JSON object as text:

    {"id": "5f1c...", "type": "ExclusiveLevelAlarmType", "source": "Boiler", "condition": "Level", "severity": 700,
     "message": "level high", "active": true, "acknowledged": false, "condition_id": "ns=2;i=7",
     "source_node": "ns=2;i=5", "branch_id": null, "retain": true}

`severity` is 1 to 1000 (Part 5, 6.4.2). Only alarms have `condition`, `active`, `acknowledged`, `condition_id`,
`branch_id` and `retain`; else null. `condition_id` and `branch_id` identify an alarm (Part 9, 5.5.2). With
`event_fields` an event also has `fields`, with null for those that it does not have: {"BatchId": 4711}.
"""

from __future__ import annotations

import math
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import orjson
from asyncua import ua

from drivers.opcua.codec.values import microseconds, reading

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from drivers.base import Value

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

MAX_ELEMENTS = 1000
"""Elements of an array in a field of an event."""

QUEUE_OVERFLOW = ua.ObjectIds.EventQueueOverflowEventType
"""Events were lost in a full queue (Part 4, 7.22.3)."""

_BOOKKEEPING = {ua.ObjectIds.RefreshStartEventType, ua.ObjectIds.RefreshEndEventType,
                ua.ObjectIds.RefreshRequiredEventType, QUEUE_OVERFLOW}  # fmt: skip
"""Events about the refresh itself (Part 9, 5.11)."""


class EventSelection(NamedTuple):
    """The events of one point: their types, further fields by name, and the least severity."""

    types: tuple[ua.NodeId, ...] = ()
    fields: Mapping[str, tuple[ua.QualifiedName, ...]] = MappingProxyType({})
    severity: int = 1


EVERY_EVENT = EventSelection()


class Event(NamedTuple):
    """One event: its id, its time in microseconds since the epoch, or None without a time, and its text.

    `alarm` identifies the alarm of the event, and `active` is its state; both are None without an alarm. `severity`
    is None if the server sent none.
    """

    id: bytes
    time: int | None
    text: str
    alarm: tuple[str, ...] | None = None
    active: bool | None = None
    severity: int | None = None


def event_filter(selection: EventSelection = EVERY_EVENT) -> ua.EventFilter:
    """Return the filter (Part 4, 7.22.3): `FIELDS` and the selected fields, of the selected events."""
    clauses = [_operand(type_, [ua.QualifiedName(name, ua.UInt16(0)) for name in path]) for type_, path in FIELDS]
    # for the base type a server looks for the path in an event of any type
    clauses += [_operand(_BASE, list(path)) for path in selection.fields.values()]
    return ua.EventFilter(SelectClauses=clauses, WhereClause=_where(selection))


def _operand(type_: int, path: list[ua.QualifiedName]) -> ua.SimpleAttributeOperand:
    return ua.SimpleAttributeOperand(
        TypeDefinitionId=ua.NodeId(ua.Int32(type_)),
        BrowsePath=path,
        AttributeId=ua.IntegerId(ua.AttributeIds.Value if path else ua.AttributeIds.NodeId),
    )


def _where(selection: EventSelection) -> ua.ContentFilter:
    """Return the condition (Part 4, 7.7): any of the types, and the severity or an alarm.

    An alarm may end with a lower severity than it began with, so the severities of alarms are compared here.
    """
    tests: list[_Test] = []
    if selection.types:
        tests.append(_any([_of_type(one) for one in selection.types]))
    if selection.severity > 1:
        severity = _operand(_BASE, [ua.QualifiedName("Severity", ua.UInt16(0))])
        least = _literal(selection.severity, ua.VariantType.UInt16)
        severe = _Test(ua.FilterOperator.GreaterThanOrEqual, (severity, least))
        tests.append(_any([severe, _of_type(ua.NodeId(ua.Int32(_CONDITION)))]))
    if not tests:
        return ua.ContentFilter()
    whole = tests[0] if len(tests) == 1 else _Test(ua.FilterOperator.And, tuple(tests))
    return ua.ContentFilter(Elements=_elements(whole))


class _Test(NamedTuple):
    """An operator with its operands, which may be tests themselves."""

    operator: ua.FilterOperator
    operands: tuple[Any, ...]


def _of_type(type_: ua.NodeId) -> _Test:
    return _Test(ua.FilterOperator.OfType, (_literal(type_, ua.VariantType.NodeId),))


def _any(tests: Sequence[_Test]) -> _Test:
    """Return the test that any of some tests holds; an operator has two operands."""
    first, *rest = tests
    return _Test(ua.FilterOperator.Or, (first, _any(rest))) if rest else first


def _elements(whole: _Test) -> list[ua.ContentFilterElement]:
    """Return the elements of a filter: each test is behind the test that it is an operand of."""
    tests = [whole]
    elements = []
    for test in tests:  # it grows
        operands = []
        for operand in test.operands:
            if isinstance(operand, _Test):
                tests.append(operand)
                operand = ua.ElementOperand(ua.UInt32(len(tests) - 1))  # noqa: PLW2901 - the operand by its number
            operands.append(operand)
        elements.append(ua.ContentFilterElement(FilterOperator=test.operator, FilterOperands=operands))
    return elements


def _literal(value: object, kind: ua.VariantType) -> ua.LiteralOperand:
    return ua.LiteralOperand(Value=ua.Variant(value, kind))


def event_of(
    values: Sequence[Any], names: Mapping[ua.NodeId, str], selection: EventSelection = EVERY_EVENT
) -> Event | None:
    """Return an event, given its fields in the order of the filter; None for events about the refresh itself.

    `names` are the known names of event types.
    """
    fields = [*values, *[None] * (len(FIELDS) - len(values))]
    (
        id_, type_, source, time, severity, message,
        condition, active, acknowledged, node, source_node, branch, retain,
    ) = fields[: len(FIELDS)]  # fmt: skip
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
        "condition_id": _id(node),
        "source_node": _id(source_node),
        "branch_id": _id(branch),
        "retain": retain if isinstance(retain, bool) else None,
    }
    if selection.fields:
        more = [*fields[len(FIELDS) :], *[None] * len(selection.fields)]
        parts["fields"] = {name: _plain(value) for name, value in zip(selection.fields, more, strict=False)}
    when = microseconds(time) if isinstance(time, datetime) else None
    alarm = None if parts["condition"] is None else _identity(parts)
    id_ = id_ if isinstance(id_, bytes) else b""
    return Event(id_, when, orjson.dumps(parts).decode(), alarm, parts["active"], parts["severity"])


def _identity(parts: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the identity of an alarm: its node and branch, or its names if the server sends no node ids.

    Two motors may both have a source Motor and a condition Overtemperature. A branch is an earlier state of an alarm
    that is not yet acknowledged (Part 9, 5.5.2); it ends on its own.
    """
    node, source_node, branch = (parts[name] or "" for name in ("condition_id", "source_node", "branch_id"))
    return (node, branch) if node else (parts["source"], parts["condition"], source_node, branch)


def _id(node: object) -> str | None:
    return node.to_string() if isinstance(node, ua.NodeId) and not node.is_null() else None


def standard_type(values: Sequence[Any]) -> int | None:
    """Return the number of an event's type in namespace 0, None for types of other namespaces."""
    type_ = values[1] if len(values) > 1 else None
    number = type_.Identifier if isinstance(type_, ua.NodeId) and type_.NamespaceIndex == 0 else None
    return number if isinstance(number, int) else None


def _plain(value: Any) -> Value | list[Value | None] | None:  # noqa: ANN401 - whatever a server sends
    """Return the value of a further field as JSON has it; null for a structure, or a number that is not finite."""
    if isinstance(value, list):
        return [None if isinstance(one, list) else cast("Value | None", _plain(one)) for one in value[:MAX_ELEMENTS]]
    plain, _ = reading(value, 0, None)
    return None if isinstance(plain, float) and not math.isfinite(plain) else plain


def _text(message: Any) -> str:  # noqa: ANN401 - whatever a server sends
    text = message.Text if isinstance(message, ua.LocalizedText) else message
    return text.encode("utf-8", "replace").decode() if isinstance(text, str) else ""
