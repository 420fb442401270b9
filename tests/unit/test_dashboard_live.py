"""The plants as the page knows them, fed with messages as a broker delivers them."""

from __future__ import annotations

import math

import orjson
import pytest
from dashboard_plant import PRESS, SECOND, T0, FedPlant, events_of
from hypothesis import given
from hypothesis import strategies as st

from drivers.base import Quality
from gateway.dashboard.live import alarms, journal, machine, plant
from gateway.dashboard.live.journal import Journal
from gateway.dashboard.live.machine import BAD, GOOD, NONE, TRAIL, TRAIL_STEP, UNCERTAIN, LiveMachine, Trail
from gateway.dashboard.live.points import declared
from gateway.model.device_alarm import MAX_SHOWN
from gateway.model.reading import NamedScan, Reading
from gateway.mqtt.session import LinkStatus


@pytest.fixture
def fed() -> FedPlant:
    found = FedPlant()
    found.meta()
    found.state("online")
    return found


def press(fed: FedPlant) -> LiveMachine:
    return fed.machines[PRESS]


def reading(fed: FedPlant, point: str) -> tuple[object, int, int, tuple[str, str] | None]:
    """Return value, time, quality and fault of a point."""
    at = press(fed).index[point]
    one = press(fed)
    return one.values[at], one.times[at], one.qualities[at], one.faults.get(at)


def test_a_point_has_no_reading_before_the_first(fed: FedPlant):
    assert reading(fed, "pressure") == (None, 0, NONE, None)


def test_readings_replace_each_other_and_carry_their_quality(fed: FedPlant):
    """A bad reading has no value, and the value before it is not shown as if it were new."""
    fed.values(T0, pressure=16.02, state=6)
    assert reading(fed, "pressure") == (16.02, T0, GOOD, None)
    fed.scan(NamedScan(T0 + SECOND, {"pressure": 31.0}, uncertain={"pressure": "out_of_range"}))
    assert reading(fed, "pressure") == (31.0, T0 + SECOND, UNCERTAIN, ("out_of_range", ""))
    fed.scan(NamedScan(T0 + 2 * SECOND, {}, {"pressure": "refused"}, codes={"pressure": "2"}))
    assert reading(fed, "pressure") == (None, T0 + 2 * SECOND, BAD, ("refused", "2"))
    fed.values(T0 + 3 * SECOND, pressure=16.1)
    assert reading(fed, "pressure") == (16.1, T0 + 3 * SECOND, GOOD, None)


def test_a_backlog_does_not_replace_a_newer_reading(fed: FedPlant):
    """After an outage fresh readings come first, and the records of the outage behind them."""
    fed.values(T0 + 60 * SECOND, pressure=16.0)
    fed.scan(NamedScan(T0, {"pressure": 3.0}, late=True))
    fed.scan(NamedScan(T0 + SECOND, {}, {"pressure": "no_response"}))
    assert reading(fed, "pressure") == (16.0, T0 + 60 * SECOND, GOOD, None)


def test_a_reading_with_a_time_of_its_own_keeps_it(fed: FedPlant):
    fed.scan(NamedScan(T0, {"pressure": 1.0, "good_count": 7}, times={"good_count": T0 - 5}))
    assert reading(fed, "good_count")[1] == T0 - 5
    assert reading(fed, "pressure")[1] == T0


def test_a_record_of_an_earlier_description_is_not_shown_with_the_new_unit(fed: FedPlant):
    """16 bar must not become 16 kPa."""
    fed.values(T0, pressure=16.0)
    changed = {"pressure": {"type": "float", "unit": "kPa", "every": 1.0}}
    fed.meta(points=changed, id="0b77c1d2e9aa")
    fed.values(T0 + SECOND, pressure=16.2)  # its record names the description before
    assert reading(fed, "pressure")[1] == T0
    fed.scan(NamedScan(T0 + 2 * SECOND, {"pressure": 1620.0}), meta="0b77c1d2e9aa")
    assert reading(fed, "pressure")[0] == 1620.0


def test_points_that_stay_keep_their_readings_when_the_description_changes(fed: FedPlant):
    fed.values(T0, pressure=16.0, good_count=4)
    fed.meta(
        points={"new": {"type": "int", "unit": ""}, "good_count": {"type": "int", "unit": ""}}, id="0b77c1d2e9aa"
    )
    assert [point.name for point in press(fed).points] == ["new", "good_count"]
    assert reading(fed, "good_count")[0] == 4
    assert reading(fed, "new") == (None, 0, NONE, None)


def test_states_of_production_are_noted_with_their_times(fed: FedPlant):
    for second, state in enumerate([6, 6, 5, 6]):
        fed.values(T0 + second * SECOND, state=state)
    assert [(one.time - T0, one.state) for one in press(fed).production] == [
        (0, "execute"), (2 * SECOND, "suspended"), (3 * SECOND, "execute"),
    ]  # fmt: skip
    fed.scan(NamedScan(T0 + 9 * SECOND, {}, {"state": "no_response"}))
    assert press(fed).production[-1] == (T0 + 9 * SECOND, "unknown", "")
    assert events_of(fed, "production") == [
        (str(PRESS), "suspended"), (str(PRESS), "execute"), (str(PRESS), "unknown"),
    ]  # fmt: skip


def test_a_stored_reading_counts_until_a_newer_one_is_heard(fed: FedPlant):
    """A point that does not change may not be sent for hours; the store knows it."""
    fed.values(T0, pressure=16.0)
    old = Reading(PRESS, "pressure", T0 - 1, 2.0, "bar", Quality.GOOD)
    press(fed).take_stored(old)
    assert reading(fed, "pressure")[0] == 16.0
    press(fed).take_stored(Reading(PRESS, "good_count", T0 - 1, 12, "", Quality.GOOD))
    press(fed).take_stored(Reading(PRESS, "state", T0 - 1, 6, "", Quality.GOOD))
    press(fed).take_stored(Reading(PRESS, "serial_number", T0 - 1, None, "", Quality.BAD, "not_found", "0x80340000"))
    assert reading(fed, "good_count") == (12, T0 - 1, GOOD, None)
    assert reading(fed, "serial_number") == (None, T0 - 1, BAD, ("not_found", "0x80340000"))
    assert press(fed).production[-1].state == "execute"
    press(fed).take_stored(Reading(PRESS, "pressure", T0 + 1, 2.0, "kPa", Quality.GOOD))
    assert reading(fed, "pressure")[0] == 16.0, "of another unit"


def test_a_number_out_of_a_store_of_numbers_has_its_declared_type(fed: FedPlant):
    """VictoriaMetrics says 6.0: without its type the state would be named 6.0, and a counter would have a mark."""
    press(fed).take_stored(Reading(PRESS, "good_count", T0 - 1, 12.0, "", Quality.GOOD))
    press(fed).take_stored(Reading(PRESS, "state", T0 - 1, 6.0, "", Quality.GOOD))
    value, *_ = reading(fed, "good_count")
    assert (value, type(value)) == (12, int)
    assert press(fed).production[-1].state == "execute"


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [(1.0, "bool", True), (0.0, "bool", False), (6.0, "int", 6), (6.5, "int", 6.5), (6.0, "float", 6.0),
     (True, "bool", True), (6, "int", 6), ("6.0", "string", "6.0"), (None, "int", None), (1e300, "int", int(1e300))],
)  # fmt: skip
def test_values_get_their_declared_type(value: object, kind: str, expected: object):
    found = declared(value, kind)  # type: ignore[arg-type]
    assert (found, type(found)) == (expected, type(expected))


def test_history_comes_before_what_was_heard(fed: FedPlant):
    fed.values(T0, state=6)
    earlier = [machine.Transition(T0 - 20, "idle"), machine.Transition(T0 - 10, "execute")]
    press(fed).take_history(earlier)
    assert [(one.time - T0, one.state) for one in press(fed).production] == [(-20, "idle"), (-10, "execute")]


def test_a_machine_that_is_removed_disappears(fed: FedPlant):
    fed.hear(f"{PRESS}/state", b"", retain=True)
    assert PRESS not in fed.machines
    assert events_of(fed, "machine")[-1] == (str(PRESS), "removed")


def test_the_journal_has_each_change_of_a_machine_once(fed: FedPlant):
    fed.state("online", since=T0 + 1)
    fed.state("degraded", reason="refused", since=T0 + 2)
    fed.state("degraded", reason="refused", since=T0 + 2)
    fed.state("offline", reason="no_response", since=T0 + 3)
    assert [event for _, event in events_of(fed, "machine")] == ["degraded", "offline"]
    newest = next(fed.journal.since(0))
    assert (newest.time, newest.level, newest.fields["reason"]) == (T0 + 3, "error", "no_response")


def test_a_gateway_and_its_configuration_are_in_the_journal(fed: FedPlant):
    fed.gateway("online", config="3f9a01bc77de")
    fed.gateway("online", config="3f9a01bc77de")
    fed.gateway("online", config="aaaa01bc77de", since=T0 + 1)
    fed.gateway("offline", reason="stopped", since=T0 + 2)
    assert events_of(fed, "gateway") == [("acme/north/edge-01", "online"), ("acme/north/edge-01", "offline")]
    assert [event for _, event in events_of(fed, "configuration")] == ["3f9a01bc77de", "aaaa01bc77de"]
    assert fed.gateway_state(press(fed)).state == "offline"


def test_the_stores_of_an_ingest_are_in_the_journal(fed: FedPlant):
    where = "acme/north/_ingests/ingest-edge-01"
    fed.hear(f"{where}/state", {"state": "online", "instance": "c03f77de", "since": T0}, retain=True)
    for state, error in (("available", ""), ("unavailable", "disk full"), ("unavailable", "disk full")):
        stores = [{"store": "sqlite", "state": state, "since": T0, "error": error}]
        report = {"time": T0, "records": 1, "readings": 2, "dead_letters": 0, "stores": stores}
        fed.hear(f"{where}/report", report, retain=True)
    assert [event for _, event in events_of(fed, "store")] == ["available", "unavailable"]
    assert next(fed.journal.since(0)).fields["error"] == "disk full"


def test_the_connection_to_the_broker_is_noted_when_it_changes(fed: FedPlant):
    for connected, error in ((True, ""), (False, "refused"), (False, "refused"), (True, "")):
        fed.connection_changed(LinkStatus(connected, T0, "mqtt://127.0.0.1:1", error))
    assert [event for _, event in events_of(fed, "broker")] == ["connected", "not connected", "connected"]


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        (f"{PRESS}/data", b"{"),
        (f"{PRESS}/data", b"\xb5\x00"),
        (f"{PRESS}/meta", {"template": "press"}),
        (f"{PRESS}/meta", {"id": "a", "template": "p", "points": {"x": {"type": "float", "range": [0, "NaN"]}}}),
        (f"{PRESS}/state", {"state": "dancing"}),
        ("acme/north/curing/curing-1/\u202epress/state", {"state": "online"}),
        ("acme/north/_gateways/edge-01/state", b"[]"),
        ("acme/north/_gateways/edge-01/data", b"{}"),
    ],
)
def test_a_message_that_is_not_valid_is_counted_and_changes_nothing(fed: FedPlant, topic: str, payload: object):
    """Any client of the broker may publish anything."""
    before = dict(fed.machines)
    fed.hear(topic, payload)
    assert fed.ignored == 1
    assert fed.machines == before
    assert press(fed).state == "online"


def test_a_retained_record_is_ignored(fed: FedPlant):
    """Records are not retained; such a message is old, or a forgery."""
    record = {"v": 1, "gateway": "e", "seq": 1, "scans": [{"t": T0, "values": {"pressure": 1.0}}]}
    fed.hear(f"{PRESS}/data", record, retain=True)
    assert reading(fed, "pressure")[0] is None


def test_machines_are_bounded(fed: FedPlant, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(plant, "MAX_MACHINES", 2)
    for number in range(5):
        fed.state("online", path=PRESS._replace(machine=f"m-{number}"))
        fed.values(T0, path=PRESS._replace(machine=f"n-{number}"), pressure=1.0)
    assert len(fed.machines) == 2
    assert fed.ignored == 4


@given(st.binary(max_size=300), st.sampled_from(["data", "event", "meta", "state", "ledger"]))
def test_no_payload_ends_the_listener(payload: bytes, leaf: str):
    found = FedPlant()
    found.hear(f"{PRESS}/{leaf}", payload)
    found.hear(f"acme/north/_gateways/edge-01/{leaf}", payload)


# -- alarms --


def event(**changes: object) -> str:
    content = {
        "id": "5f1c0a", "type": "ExclusiveLimitAlarmType", "source": "Boiler", "condition": "Level", "severity": 700,
        "message": "level high", "active": True, "acknowledged": False, "condition_id": "ns=2;s=Boiler.Level",
        "branch_id": None,
    }  # fmt: skip
    return orjson.dumps(content | changes).decode()


def raise_alarm(fed: FedPlant, at: int, **changes: object) -> None:
    fed.scan(NamedScan(at, {"events": event(**changes)}), leaf="event")


def test_an_alarm_stands_until_it_is_inactive_and_acknowledged(fed: FedPlant):
    raise_alarm(fed, T0)
    [alarm] = fed.alarms.of(PRESS).values()
    assert (alarm.priority, alarm.message, alarm.since) == (2, "level high", T0)
    raise_alarm(fed, T0 + 5, message="level very high", severity=900)
    [alarm] = fed.alarms.of(PRESS).values()
    assert (alarm.priority, alarm.since, alarm.time) == (1, T0, T0 + 5)
    raise_alarm(fed, T0 + 6, active=False)
    [alarm] = fed.alarms.of(PRESS).values()
    assert not alarm.active
    raise_alarm(fed, T0 + 7, active=False, acknowledged=True)
    assert fed.alarms.of(PRESS) == {}
    assert len(events_of(fed, "alarm")) == 4


@pytest.mark.parametrize(
    ("state", "previous", "event"),
    [
        ("unacknowledged", "normal", "active"),
        ("acknowledged", "unacknowledged", "acknowledged"),
        ("normal", "acknowledged", "inactive"),
        ("returned_unacknowledged", "unacknowledged", "returned_unacknowledged"),
        ("normal", "returned_unacknowledged", "acknowledged"),
        ("latched", "acknowledged", "latched"),
        ("normal", "latched", "reset"),
        ("suppressed", "normal", "suppressed"),
        ("normal", "suppressed", "normal"),
        ("shelved", "unacknowledged", "shelved"),
    ],
)
def test_a_transition_of_a_gateway_is_named_as_it_is(fed: FedPlant, state: str, previous: str, event: str):
    """An alarm that is suppressed by design is acknowledged by nobody."""
    active = state in {"unacknowledged", "acknowledged"}
    acknowledged = state not in {"unacknowledged", "returned_unacknowledged"}
    raise_alarm(fed, T0, state=state, previous=previous, active=active, acknowledged=acknowledged)
    assert events_of(fed, "alarm") == [(str(PRESS), event)]
    assert [one.level for one in fed.journal.since(0)] == ["error" if event == "active" else "info"]


def test_an_alarm_is_not_changed_by_an_older_event(fed: FedPlant):
    raise_alarm(fed, T0)
    raise_alarm(fed, T0 - 5, active=False, acknowledged=True)
    assert len(fed.alarms.of(PRESS)) == 1


def test_an_event_that_is_not_an_alarm_is_none(fed: FedPlant):
    raise_alarm(fed, T0, active=None, acknowledged=None)
    assert fed.alarms.of(PRESS) == {}


@pytest.mark.parametrize("text", ["{", "[]", '{"severity": 1e999}', '{"active": 1}', "x" * 70_000])
def test_an_event_that_is_not_valid_is_counted(text: str):
    found = alarms.Alarms()
    assert found.take(PRESS, T0, text) is None
    assert found.ignored == 1


def test_a_flood_of_alarms_is_bounded_and_counted(fed: FedPlant, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(alarms, "ALARMS", 10)
    for number in range(15):
        raise_alarm(fed, T0 + number, condition_id=f"ns=2;s=Alarm.{number}")
    assert fed.alarms.count == len(list(fed.alarms)) == 10
    assert fed.alarms.dropped == 5


def test_hostile_texts_are_cleaned_and_cut(fed: FedPlant):
    raise_alarm(fed, T0, message="\u202e<script>alert(1)</script>\x1b[2J" + "x" * 10_000)
    [alarm] = fed.alarms.of(PRESS).values()
    assert "\u202e" not in alarm.message
    assert "\x1b" not in alarm.message
    assert len(alarm.message) <= MAX_SHOWN


# -- trails and journal --


def test_a_trail_keeps_the_last_readings_in_order():
    trail = Trail()
    for number in range(3 * TRAIL):
        trail.add(T0 + number * TRAIL_STEP, float(number))
    found = list(trail)
    assert [value for _, value in found] == [float(number) for number in range(2 * TRAIL, 3 * TRAIL)]


def test_a_trail_leaves_out_readings_that_are_near_and_never_a_gap():
    trail = Trail()
    for step, value in enumerate([1.0, 2.0, math.nan, math.nan, 3.0]):
        trail.add(T0 + step * 1000, value)
    assert [value for _, value in trail][::2] == [1.0, 3.0]
    assert math.isnan(list(trail)[1][1])


def test_the_journal_yields_the_events_after_a_number_and_is_bounded():
    found = Journal()
    for number in range(journal.EVENTS + 5):
        found.add(T0 + number, "machine", "m", str(number))
    assert [one.event for one in found.since(journal.EVENTS + 3)] == [str(journal.EVENTS + n) for n in (4, 3)]
    assert list(found.since(journal.EVENTS + 5)) == []
    assert len(list(found.since(0))) == journal.EVENTS
