"""Events become readings: the reported fields, and the events that are left out."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

import pytest
from asyncua import ua
from asyncua.ua.ua_binary import struct_from_binary, struct_to_binary

from drivers.base import Group
from drivers.opcua.counters import Counters
from drivers.opcua.events.alarms import FIRST_HANDLE, Alarms
from drivers.opcua.events.events import FIELDS, Event, EventSelection, event_filter, event_of
from drivers.opcua.settings import OpcUaConnection, OpcUaSource
from drivers.opcua.subscription.revisions import Revisions

TIME = datetime(2025, 11, 24, 16, 0, 0, 123456, tzinfo=UTC)
CONNECTION = OpcUaConnection.from_url("opc.tcp://127.0.0.1", {"security": "none"})
SOURCE = OpcUaSource.model_validate({"node": "s=Press", "mode": "events"})
ALARM = ua.NodeId(ua.Int32(ua.ObjectIds.ExclusiveLevelAlarmType))

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from drivers.opcua.connection.session import Session


def test_an_alarm_is_reported_with_its_state():
    """A reader of the store must see whether the alarm is still active, and whether it is acknowledged."""
    fields = [b"\x01\xff", ALARM, "Boiler", TIME, 700, ua.LocalizedText("Füllstand hoch", "de"), "Level", True, False]
    event = event_of(fields, {ALARM: "ExclusiveLevelAlarmType"})
    assert event is not None
    assert (event.id, event.time) == (b"\x01\xff", 1_764_000_000_123_456)
    assert json.loads(event.text) == {
        "id": "01ff",
        "type": "ExclusiveLevelAlarmType",
        "source": "Boiler",
        "condition": "Level",
        "severity": 700,
        "message": "Füllstand hoch",
        "active": True,
        "acknowledged": False,
        "condition_id": None,
        "source_node": None,
        "branch_id": None,
        "retain": None,
    }


def test_the_identity_of_an_alarm_is_reported():
    """Two motors may have a source and a condition of the same names: a consumer must distinguish their alarms."""
    event = alarm_of("Motor", ua.NodeId("Motor1.Hot", 2), ua.NodeId("branch", 2))
    event_fields = json.loads(event.text)
    assert (event_fields["condition_id"], event_fields["source_node"]) == ("ns=2;s=Motor1.Hot", "ns=2;s=Motor")
    assert (event_fields["branch_id"], event_fields["retain"]) == ("ns=2;s=branch", True)


def test_a_field_that_the_server_leaves_out_is_null():
    """A plain event has no state; a server without alarms leaves their fields out."""
    event = event_of([b"\x01", ua.NodeId("Door", 2), "Cell", None, 100, "door open", None, None, None], {})
    assert event is not None
    assert event.time is None
    event_fields = json.loads(event.text)
    assert event_fields["type"] == "ns=2;s=Door"
    assert (event_fields["condition"], event_fields["active"], event_fields["acknowledged"]) == (None, None, None)
    short = event_of([b"\x01"], {})
    assert short is not None
    assert json.loads(short.text)["severity"] is None


def test_events_about_the_asking_are_left_out():
    """A refresh begins and ends with an event of its own (Part 9, 5.11)."""
    for kind in (ua.ObjectIds.RefreshStartEventType, ua.ObjectIds.RefreshEndEventType):
        assert event_of([b"\x01", ua.NodeId(ua.Int32(kind)), "", TIME, 1, "", None, None, None], {}) is None


def test_text_of_any_bytes_can_be_sent_on():
    """Old servers send Latin-1 where UTF-8 belongs."""
    event = event_of([b"\x01", ALARM, "Boiler", TIME, 1, b"\xe4".decode("utf-8", "surrogateescape")], {})
    assert event is not None
    assert json.loads(event.text)["message"] == "?"


def test_the_filter_asks_for_every_field_in_order():
    """The answer has no names: its order is that of the clauses."""
    sent = struct_from_binary(ua.EventFilter, ua.utils.Buffer(struct_to_binary(event_filter())))
    assert [tuple(name.Name for name in clause.BrowsePath) for clause in sent.SelectClauses] == [
        path for _, path in FIELDS
    ]


async def test_an_event_of_nothing_that_was_asked_for_is_left_out():
    """A server that mixes up its items must not end the gateway."""
    assert await Alarms(Counters(), Revisions()).scans(cast("Session", None), [(3, [])], 1) == []


class FakeSession:
    """A session with a server that monitors all that it is asked for, and has no alarms."""

    def __init__(self) -> None:
        self.client = self.uaclient = self

    async def in_parts(self, _: object, requests: Sequence[Any], send: Callable[[Any], Awaitable[Any]]) -> Any:
        return await send(requests)

    async def create_monitored_items(self, parameters: ua.CreateMonitoredItemsParameters) -> list[Any]:
        return [ua.MonitoredItemCreateResult() for _ in parameters.ItemsToCreate]

    async def call(self, _: object) -> list[Any]:
        return []


async def test_an_event_of_a_monitored_item_is_a_scan_of_its_own():
    """Its handle is not the handle of a point."""
    group = Group("press", CONNECTION, ("alarms",), (SOURCE,), 1.0, pushed=True, events=True)
    alarms = Alarms(Counters(), Revisions())
    assert await alarms.monitor(cast("Session", FakeSession()), 1, group, [(0, ua.NodeId("Press", 2))]) == {}
    fields = [b"\x01", None, "Boiler", TIME, 1, ua.LocalizedText("oil is low")]
    [scan] = await alarms.scans(cast("Session", None), [(FIRST_HANDLE, fields)], 1)
    assert (scan.group, scan.points) == (group, [0])
    assert json.loads(str(scan.values[0]))["message"] == "oil is low"
    assert await alarms.scans(cast("Session", None), [(FIRST_HANDLE, fields), (0, fields)], 1) == []


class RefusingSession(FakeSession):
    """A session with a server that refuses the filter of every item at first, and supports short filters of some."""

    def __init__(self, never: set[int]) -> None:
        super().__init__()
        self.requests = 0
        self.never = never
        """Positions of items that are refused again."""

    async def create_monitored_items(self, parameters: ua.CreateMonitoredItemsParameters) -> list[Any]:
        self.requests += 1
        refused = ua.MonitoredItemCreateResult(ua.StatusCode(ua.UInt32(ua.StatusCodes.BadFilterNotAllowed)))
        if self.requests == 1:
            return [refused for _ in parameters.ItemsToCreate]
        return [
            refused if i in self.never else ua.MonitoredItemCreateResult()
            for i in range(len(parameters.ItemsToCreate))
        ]


@pytest.mark.parametrize(("never", "bad"), [(set(), {1}), ({0}, {0, 1})])
async def test_a_point_with_a_refused_filter_is_bad_while_others_are_tried_without(
    never: set[int], bad: set[int]
) -> None:
    """The second request is for points with a selection only: the other point stays refused."""
    selected = OpcUaSource.model_validate({"node": "s=Press", "mode": "events", "severity": 500})
    sources = (selected, SOURCE, selected)
    group = Group("press", CONNECTION, ("a", "b", "c"), sources, 1.0, pushed=True, events=True)
    nodes = [(position, ua.NodeId("Press", 2)) for position in range(3)]
    alarms = Alarms(Counters(), Revisions())
    refused = await alarms.monitor(cast("Session", RefusingSession(never)), 1, group, nodes)
    assert refused == dict.fromkeys(bad, int(ua.StatusCodes.BadFilterNotAllowed))


def alarm_of(source: str, node: ua.NodeId | None, branch: ua.NodeId | None = None, *, active: bool = True) -> Event:
    """Return the event of an alarm of one name, of a source of one name."""
    fields = [
        b"1",
        ua.NodeId(ua.ObjectIds.OffNormalAlarmType),
        source,
        None,
        700,
        ua.LocalizedText("hot"),
        "Hot",
        active,
    ]
    return event_of([*fields, False, node, ua.NodeId(source, 2), branch, True], {})


def test_two_alarms_of_the_same_name_are_distinct() -> None:
    """Each motor has an alarm Hot: when one ends, the other is still active."""
    first, second = (alarm_of("Motor", ua.NodeId(name, 2)) for name in ("Motor1.Hot", "Motor2.Hot"))
    assert first.alarm != second.alarm
    assert alarm_of("Motor", ua.NodeId("Motor1.Hot", 2), active=False).alarm == first.alarm


def test_a_branch_does_not_end_its_alarm() -> None:
    """It is an earlier state that waits to be acknowledged."""
    node = ua.NodeId("Motor.Hot", 2)
    assert alarm_of("Motor", node, ua.NodeId("branch", 2)).alarm != alarm_of("Motor", node, ua.NodeId()).alarm


def test_alarms_without_node_ids_are_identified_by_their_names() -> None:
    """Some servers do not know the clause that asks for them."""
    assert alarm_of("Motor1", None).alarm != alarm_of("Motor2", None).alarm
    assert alarm_of("Motor1", None).alarm == alarm_of("Motor1", None, active=False).alarm


# -- selected events --

BATCH, HIGH = (ua.QualifiedName("BatchId", 2),), (ua.QualifiedName("Limits", 2), ua.QualifiedName("High", 2))


def test_further_fields_are_reported_under_their_names() -> None:
    """The number of the batch is in a field of the vendor's own type."""
    selection = EventSelection(fields={"BatchId": BATCH, "Limits/High": HIGH, "Curve": (), "Note": (), "Odd": ()})
    sent = struct_from_binary(ua.EventFilter, ua.utils.Buffer(struct_to_binary(event_filter(selection))))
    assert [clause.BrowsePath for clause in sent.SelectClauses[len(FIELDS) : len(FIELDS) + 2]] == [
        list(BATCH), list(HIGH)
    ]  # fmt: skip
    fields = [b"1", ALARM, "Boiler", TIME, 700, ua.LocalizedText("hot"), *[None] * (len(FIELDS) - 6)]
    event = event_of(
        [*fields, 4711, float("nan"), [1.5, float("inf")], ua.LocalizedText("late shift")], {}, selection
    )
    assert event is not None
    assert json.loads(event.text)["fields"] == {
        "BatchId": 4711, "Limits/High": None, "Curve": [1.5, None], "Note": "late shift", "Odd": None
    }  # fmt: skip


class Chooser:
    """A server that evaluates the condition of a filter for an event of a type and a severity."""

    def __init__(self, filter_: ua.EventFilter) -> None:
        self.elements = filter_.WhereClause.Elements

    def sends(self, type_: ua.NodeId, severity: int) -> bool:
        return not self.elements or self._holds(0, type_, severity)

    def _holds(self, at: int, type_: ua.NodeId, severity: int) -> bool:
        element = self.elements[at]
        first, *rest = element.FilterOperands
        match element.FilterOperator:
            case ua.FilterOperator.OfType:
                return bool(first.Value.Value == type_)
            case ua.FilterOperator.GreaterThanOrEqual:
                return bool(severity >= rest[0].Value.Value)
            case operator:
                assert [one.Index > at for one in (first, *rest)] == [True, True], "two, behind it (Part 4, 7.7.1)"
                both = [self._holds(one.Index, type_, severity) for one in (first, *rest)]
                return all(both) if operator is ua.FilterOperator.And else any(both)


CONDITION = ua.NodeId(ua.ObjectIds.ConditionType)


@pytest.mark.parametrize("types", range(4))
@pytest.mark.parametrize("least", [1, 500])
def test_a_server_is_asked_for_the_selected_types_and_severities_only(types: int, least: int) -> None:
    """The server need not send other events; an alarm may end with a lower severity than it began with."""
    kinds = [CONDITION, *(ua.NodeId(i, 2) for i in range(3))]
    sent = event_filter(EventSelection(tuple(kinds[:types]), severity=least))
    chooser = Chooser(struct_from_binary(ua.EventFilter, ua.utils.Buffer(struct_to_binary(sent))))
    for i, kind in enumerate(kinds):
        for severity in (1, 499, 500, 1000):
            severe = severity >= least or kind == CONDITION
            assert chooser.sends(kind, severity) is ((i < types or not types) and severe)


async def reported_of(least: int, *events: tuple[int, str | None, bool | None]) -> list[tuple[int, bool | None]]:
    """Return severity and state of the reported events; each event is its severity, condition and state."""
    source = OpcUaSource.model_validate({"node": "s=Press", "mode": "events", "severity": least})
    group = Group("press", CONNECTION, ("alarms",), (source,), 1.0, pushed=True, events=True)
    alarms = Alarms(Counters(), Revisions())
    assert await alarms.monitor(cast("Session", FakeSession()), 1, group, [(0, ua.NodeId("Press", 2))]) == {}
    reported = []
    for i, (severity, condition, active) in enumerate(events):
        fields = [bytes([i]), None, "Boiler", TIME, severity, ua.LocalizedText("hot"), condition, active]
        for scan in await alarms.scans(cast("Session", None), [(FIRST_HANDLE, fields)], 1):
            event = json.loads(str(scan.values[0]))
            reported.append((event["severity"], event["active"]))
    return reported


async def test_events_below_the_least_severity_are_left_out() -> None:
    """A small server ignores the condition of a filter."""
    assert await reported_of(500, (499, None, None), (500, None, None), (499, "Hot", True)) == [(500, None)]


async def test_the_end_of_an_alarm_is_reported_whatever_its_severity() -> None:
    """It would stay active in the stores."""
    events = (400, "Hot", True), (700, "Hot", True), (100, "Hot", False), (100, "Hot", False)
    assert await reported_of(500, *events) == [(700, True), (100, False)]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"severity": 500}, "write mode: events"),
        ({"mode": "events", "severity": 0}, "greater than or equal to 1"),
        ({"mode": "events", "event_types": "/Types/Mine"}, "instance of Node"),
        ({"mode": "events", "event_fields": ["a", ""]}, "empty step"),
        ({"mode": "poll", "trigger": "timestamp"}, "write time: source instead"),
    ],
)
def test_a_wrong_selection_is_reported(keys: dict[str, Any], message: str) -> None:
    """The message names the wrong key and a correction."""
    with pytest.raises(ValueError, match=message):
        OpcUaSource.model_validate({"node": "s=Press"} | keys)


def test_a_selection_is_written_as_a_user_writes_it() -> None:
    """A template that is exported is read again."""
    written = {
        "event_types": ["nsu=urn:x;i=1005", "i=2041"],
        "event_fields": ["BatchId", "Limits/2:High"],
        "severity": 2,
    }
    source = OpcUaSource.model_validate({"node": "s=Press", "mode": "events"} | written)
    assert source.written() | written == source.written()
    assert OpcUaSource.model_validate(source.written()) == source
