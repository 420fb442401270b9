"""Alarms: from readings to transitions, with deadbands, delays, suppression, bad inputs, and commands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest
from alarmed import SILENT, AlarmBench
from derived import MACHINE, SECOND, START
from hypothesis import given
from hypothesis import strategies as st
from points import register
from structlog.testing import capture_logs

from drivers.base import Connection, Group, Scan
from gateway.pipeline.alarms import MAX_DEVICE_ALARMS, MachineAlarms
from gateway.settings.alarms import ALARM_POINTS

if TYPE_CHECKING:
    from gateway.settings.point import Point

X = register("x", "float32", unit="bar")
Y = register("y", "float32", unit="bar")
STATE = register("state", labels={0: "stopped", 4: "running"})
OPEN = register("open", "bool")


def test_a_limit_with_a_deadband() -> None:
    """An alarm that is active stays until the value is back by the deadband."""
    bench = AlarmBench([X], a={"point": "x", "high": 10, "deadband": 1})
    assert bench.take(0, 10.0) == []
    assert bench.take(1, 10.1) == ["a unacknowledged"]
    assert bench.take(2, 9.1) == []
    assert bench.take(3, 9.0) == ["a returned_unacknowledged"]
    assert bench.take(4, 9.5) == []
    assert bench.take(5, 11.0) == ["a unacknowledged"]


@pytest.mark.parametrize(
    ("keys", "values", "expected"),
    [
        ({"low": 5}, (6.0, 4.9, 5.1), (False, True, False)),
        ({"low_low": 5, "deadband": 1}, (6.0, 4.9, 5.9, 6.0), (False, True, True, False)),
        ({"high_high": 5}, (5.0, 5.1, 5.0), (False, True, False)),
        ({"rate": 2}, (0.0, 3.0, 4.0), (False, True, False)),
        ({"rate": -2, "deadband": 1}, (9.0, 6.0, 4.5, 4.0), (False, True, True, False)),
        ({"deviation": 2, "set_point": "y"}, (1.0, -2.5, 2.5, 2.0), (False, True, True, False)),
    ],
)  # fmt: skip
def test_conditions_of_numbers(keys: dict[str, Any], values: tuple[float, ...], expected: tuple[bool, ...]) -> None:
    """Each kind in its own direction, with its deadband."""
    bench = AlarmBench([X, Y], a={"point": "x"} | keys)
    found = []
    for second, value in enumerate(values):
        bench.take(second, value, 0.0)
        found.append(bench.states().get("a") == "unacknowledged")
    assert tuple(found) == expected


@pytest.mark.parametrize(
    ("state", "point", "values", "expected"),
    [
        ("running", STATE, (0, 4, 0), [0, 1, 0]),
        (["stopped", "running"], STATE, (0, 4, 7), [1, 1, 0]),
        (4, register("state"), (0, 4), [0, 1]), (True, OPEN, (False, True), [0, 1]),
        (False, OPEN, (True, False), [0, 1]),
        ("A", register("state", "string"), ("B", "A"), [0, 1]),
        ('7" \\ 8"\n', register("state", "string"), ("7", '7" \\ 8"\n'), [0, 1]),
    ],
)  # fmt: skip
def test_discrete_states(state: object, point: Point, values: tuple[Any, ...], expected: list[int]) -> None:
    """Labels, numbers, texts and bits."""
    bench = AlarmBench([point], a={"point": point.name, "state": state})
    found = []
    for second, value in enumerate(values):
        bench.take(second, value)
        found.append(int(bench.alarms._by_name["a"].states.active))  # noqa: SLF001 - the condition alone
    assert found == expected


def test_two_levels_are_two_alarms_with_their_own_priorities() -> None:
    """As the standard has them: the second is more urgent."""
    priorities = {"high": "low", "high_high": "critical"}
    bench = AlarmBench([X], a={"point": "x", "high": 10, "high_high": 20, "priority": priorities})
    bench.take(0, 25.0)
    found = {one["alarm"]: (one["priority"], one["alarm_limit"], one["severity"]) for one in bench.records()} or {
        live.text.name: (live.text.priority.shown, live.alarm.limit, live.text.severity)  # type: ignore[union-attr] # configured
        for live in bench.alarms.standing()
    }
    assert found == {"a_high": ("low", 10.0, 200), "a_high_high": ("critical", 20.0, 900)}


def test_delays_on_and_off() -> None:
    """A condition that does not last raises nothing; one that is over for a moment ends nothing."""
    bench = AlarmBench([X], a={"point": "x", "high": 10, "on_delay": "5s", "off_delay": "3s"})
    assert bench.take(0, 11.0) == []
    assert bench.take(4, 9.0) == []
    assert bench.take(5, 11.0) == []
    assert bench.wait(9.9) == []
    assert bench.wait(10.1) == ["a unacknowledged"], "no scan is needed at the end of a delay"
    assert bench.take(11, 9.0) == []
    assert bench.take(13, 11.0) == []
    assert bench.take(14, 9.0) == []
    assert bench.take(17, 9.0) == ["a returned_unacknowledged"]


def test_a_clock_that_is_set_changes_no_delay() -> None:
    """Delays are measured by the monotonic clock; the times of readings may jump."""
    bench = AlarmBench([X], a={"point": "x", "high": 10, "on_delay": "5s"})
    bench.take(0, 11.0)
    assert bench.step is not None
    bench.seconds = 2.0
    bench.step(Scan(bench.group, START + 3600 * SECOND, [11.0]))
    bench.step(Scan(bench.group, START - 3600 * SECOND, [11.0]))
    assert bench.news() == []
    assert bench.wait(5.1) == ["a unacknowledged"]


def test_a_bad_input_neither_raises_nor_clears() -> None:
    """Nobody knows the value; a delay begins again with the next reading."""
    bench = AlarmBench([X], a={"point": "x", "high": 10, "on_delay": "2s"})
    bench.take(0, 11.0)
    assert bench.take(1, None) == []
    assert bench.wait(4) == []
    bench.take(5, 11.0)
    assert bench.wait(7.1) == ["a unacknowledged"]
    assert bench.take(8, None) == []
    assert bench.wait(20) == []
    assert bench.take(21, 9.0) == ["a returned_unacknowledged"]


def test_bad_quality_and_stale() -> None:
    """The alarms that exist for this: the first while readings are bad, the second while none comes."""
    bench = AlarmBench([X], b={"point": "x", "bad_quality": True, "on_delay": "2s"}, s={"point": "x", "stale": "10s"})
    assert bench.take(0, 1.0) == []
    assert bench.take(1, None) == []
    assert bench.take(3, None) == ["b unacknowledged"]
    assert bench.wait(9.9) == []
    assert bench.wait(10.2) == ["s unacknowledged"]
    assert bench.take(11, 2.0) == ["b returned_unacknowledged", "s returned_unacknowledged"]
    assert bench.wait(20.9) == []
    assert bench.wait(21.1) == ["s unacknowledged"]


def test_bad_quality_and_stale_of_a_derived_point() -> None:
    """Its readings come within the scan that it is derived from."""
    bench = AlarmBench([X, Y], b={"point": "y", "bad_quality": True}, s={"point": "y", "stale": "10s"})
    read = Group(MACHINE, Connection(), ("x",), (X.source,), 1.0)
    derived = Group(MACHINE, Connection(), ("y",), (), 1.0)
    take_read, take_derived = bench.alarms.step(read), bench.alarms.step(derived)
    assert take_derived is not None

    def take(value: float | None) -> list[str]:
        faults = {0: SILENT} if value is None else {}
        take_derived(Scan(derived, bench.now(), [value], faults))
        if take_read is not None:
            take_read(Scan(read, bench.now(), [1.0]))
        return bench.news()

    assert take(2.0) == []
    bench.wait(1)
    assert take(None) == ["b unacknowledged"]
    assert bench.wait(9.9) == []
    assert bench.wait(11.2) == ["s unacknowledged"]
    assert take(2.0) == ["b returned_unacknowledged", "s returned_unacknowledged"]


def test_a_point_that_is_never_read_is_stale() -> None:
    """The time counts from the start of the gateway."""
    bench = AlarmBench([X], s={"point": "x", "stale": "10s"})
    assert bench.wait(9.9) == []
    assert bench.wait(10.1) == ["s unacknowledged"]


@pytest.mark.parametrize("keys", [{"low": 5}, {"bad_quality": True}, {"stale": "2s"}])
def test_an_alarm_that_means_nothing_is_suppressed(keys: dict[str, Any]) -> None:
    """A stopped press has no low-pressure alarm, and its delays begin when it runs."""
    bench = AlarmBench([X, STATE], a={"point": "x", "suppress_when": 'state != "running"'} | keys)
    assert bench.take(0, 1.0, 0) == ["a suppressed"]
    value = 1.0 if "low" in keys else None
    assert bench.take(5, value, 0) == []
    news = bench.take(6, value, 4)
    assert news[0] == "a normal"
    assert [*news[1:], *bench.wait(9)] == ["a unacknowledged"]
    assert bench.take(10, value, 0) == ["a suppressed"]
    assert bench.wait(20) == []


def test_an_expression_with_values_in_its_message() -> None:
    """A placeholder is the value at the annunciation, with its unit or label."""
    bench = AlarmBench(
        [X, STATE],
        a={"expression": 'x > 10.0 && state == "running"', "message": "Pressure {x} while {state}",
           "class": "quality",
           "priority": "critical"},
    )  # fmt: skip
    bench.take(0, 20.0, 0)
    bench.wait(1)
    assert bench.step is not None
    bench.step(Scan(bench.group, bench.now(), [12.5, 4]))
    [record] = bench.records()
    assert record["message"] == "Pressure 12.5 bar while running"
    assert (record["priority"], record["class"], record["type"]) == ("critical", "quality", "expression")
    assert orjson.loads(bench.retained["alarm/a"]) == record


def test_a_transition_has_the_time_of_its_reading() -> None:
    """And the keys of an event, so that what reads events reads alarms, too."""
    bench = AlarmBench([X], a={"point": "x", "high": 10})
    assert bench.step is not None
    bench.step(Scan(bench.group, START + 5, [12.5]))
    [scan] = bench.scans
    [record] = bench.records()
    assert scan.time == START + 5
    assert record == {
        "id": "1", "type": "high", "source": "x", "condition": "a", "severity": 500, "message": "", "active": True,
        "acknowledged": False, "condition_id": "lineside:a", "branch_id": None, "source_node": None, "retain": True,
        "alarm": "a", "state": "unacknowledged", "previous": "normal", "event": "raise", "changed": START + 5,
        "since": START + 5, "priority": "medium", "class": "process", "value": 12.5, "alarm_limit": 10.0,
        "unit": "bar", "who": "", "reason": "", "until": None,
    }  # fmt: skip


def test_readings_of_several_times_are_followed_one_by_one() -> None:
    """A server pushes what happened meanwhile; a short alarm is one."""
    bench = AlarmBench([X], a={"point": "x", "high": 10})
    assert bench.step is not None
    times = [START + SECOND * i for i in range(4)]
    bench.step(Scan(bench.group, times[-1], [9.0, 11.0, 9.0, 12.0], {}, [0] * 4, times))
    records = bench.records()
    assert [(one["state"], one["changed"]) for one in records] == [
        ("unacknowledged", times[1]), ("returned_unacknowledged", times[2]), ("unacknowledged", times[3])
    ]  # fmt: skip


def test_late_readings_raise_nothing() -> None:
    """They are of the past, and the states have gone on."""
    bench = AlarmBench([X], a={"point": "x", "high": 10})
    assert bench.step is not None
    bench.step(Scan(bench.group, START, [12.0], late=True))
    assert bench.news() == []


def test_commands_of_people() -> None:
    """The person and the reason are in the transition; an action that does not apply says so."""
    bench = AlarmBench([X], a={"point": "x", "high": 10, "latch": True})
    bench.take(0, 11.0)
    command = bench.alarms.command
    assert command("acknowledge", "a", "anna", "seen") == ""
    [record] = bench.records()
    assert (record["state"], record["who"], record["reason"], record["event"]) == (
        "acknowledged", "anna", "seen", "acknowledge"
    )  # fmt: skip
    assert command("acknowledge", "a", "anna", "") == "the alarm is acknowledged, and acknowledge does not apply"
    assert command("acknowledge", "b", "anna", "") == "there is no alarm b"
    bench.news()
    assert bench.take(1, 9.0) == ["a latched"]
    assert command("reset", "a", "anna", "") == ""
    assert bench.news() == ["a normal"]
    assert bench.retained == {}
    assert command("shelve", "a", "ben", "works", 60.0) == ""
    assert bench.records()[0]["until"] == bench.now() + 60 * SECOND
    assert bench.take(2, 11.0) == ["a shelved"]
    assert bench.wait(60) == []
    assert bench.wait(61.2) == ["a unacknowledged"], "the shelf ends, and the condition lasts"
    assert command("remove_from_service", "a", "ben", "sensor is out") == ""
    assert bench.take(70, 9.0) == ["a out_of_service"]
    assert command("return_to_service", "a", "ben", "") == ""
    assert bench.news() == ["a normal"]


def test_a_shelf_ends_in_time_although_the_clock_is_in_1970_after_a_restart() -> None:
    """The alarm of a box without a battery was shelved for the 56 years that its clock lacked."""
    bench = AlarmBench([X], a={"point": "x", "high": 10})
    bench.take(0, 11.0)
    assert bench.alarms.command("shelve", "a", "ben", "works", 60.0) == ""
    begin = -START / SECOND
    restarted = AlarmBench([X], begin=begin, a={"point": "x", "high": 10})
    assert restarted.alarms.load(bench.alarms.save()) == ([], [])
    assert restarted.take(begin + 1, 11.0) == []
    assert restarted.wait(begin + 59) == []
    assert restarted.wait(begin + 61.2) == ["a unacknowledged"]


EVENT = {
    "id": "5f", "type": "ExclusiveLimitAlarmType", "source": "Boiler", "condition": "Level", "severity": 700,
    "message": "level high", "active": True, "acknowledged": False, "condition_id": "ns=2;s=Boiler.Level",
    "source_node": None, "branch_id": None, "retain": True,
}  # fmt: skip


def reported(bench: AlarmBench, seconds: float, **keys: object) -> list[str]:
    group = Group(MACHINE, Connection(), ("events",), (), 1.0, events=True)
    step = bench.alarms.step(group)
    assert step is not None
    step(Scan(group, START + round(seconds * SECOND), [orjson.dumps(EVENT | keys).decode()], points=[0]))
    return bench.news()


def test_alarms_of_the_device_have_the_same_states() -> None:
    """Under the node id of their condition; one that is over is forgotten."""
    bench = AlarmBench([X])
    name = "ns=2;s=Boiler.Level"
    assert reported(bench, 0) == [f"{name} unacknowledged"]
    assert reported(bench, 1) == []
    assert bench.alarms.command("shelve", name, "anna", "", 60.0) == ""
    assert bench.news() == [f"{name} shelved"]
    assert reported(bench, 2, active=False) == []
    assert bench.wait(61) == [f"{name} normal"]
    assert bench.alarms._reported == {}  # noqa: SLF001 - it must not grow
    assert reported(bench, 70, active=False) == [f"{name} unacknowledged", f"{name} returned_unacknowledged"]
    assert reported(bench, 71, active=False, acknowledged=True) == [f"{name} normal"]
    assert reported(bench, 72, active=None) == []
    assert list(bench.retained) == []


def test_an_alarm_that_ended_while_the_gateway_did_not_run_returns() -> None:
    """Nobody reports its end: the refresh after the start is over, and has not named it."""
    before = AlarmBench([X])
    for number in (1, 2):
        reported(before, number, condition_id=f"ns=2;i={number}", acknowledged=True)
    bench = AlarmBench([X])
    groups = [Group(MACHINE, Connection(), ("events",), (), 1.0, events=True) for _ in range(2)]
    steps = [step for group in groups if (step := bench.alarms.step(group)) is not None]
    bench.alarms.load(before.alarms.save())
    text = orjson.dumps(EVENT | {"condition_id": "ns=2;i=2", "acknowledged": True}).decode()
    steps[0](Scan(groups[0], START + 9 * SECOND, [text], points=[0]))
    steps[0](Scan(groups[0], START + 10 * SECOND, [], points=[]))
    assert bench.news() == [], "the other group may have it"
    steps[1](Scan(groups[1], START + 11 * SECOND, [], points=[]))
    assert bench.news() == ["ns=2;i=1 normal"]
    assert bench.states() == {"ns=2;i=2": "acknowledged"}


def test_a_branch_ends_when_the_server_does_not_retain_it() -> None:
    """It is an earlier state: its last event says that it was acknowledged, and may still call it active."""
    bench = AlarmBench([X])
    reported(bench, 0)
    branch = {"branch_id": "ns=1;g=1"}
    assert reported(bench, 1, **branch) == ["ns=2;s=Boiler.Level ns=1;g=1 unacknowledged"]
    assert reported(bench, 2, **branch, retain=False)[-1:] == ["ns=2;s=Boiler.Level ns=1;g=1 normal"]
    assert bench.states() == {"ns=2;s=Boiler.Level": "unacknowledged"}


def test_an_alarm_keeps_its_priority_if_the_server_says_none() -> None:
    """Some servers send the severity 0 with its return; it waits for its acknowledgement as urgently as before."""
    bench = AlarmBench([X])
    reported(bench, 0, severity=900)
    assert reported(bench, 1, active=False, severity=0) == ["ns=2;s=Boiler.Level returned_unacknowledged"]
    [retained] = bench.retained.values()
    content = orjson.loads(retained)
    assert (content["priority"], content["severity"]) == ("critical", 900)


def test_conditions_of_one_name_are_alarms_of_their_sources() -> None:
    """Two motors may both be named Motor, and have a condition Overtemperature; a server may name no node of it."""
    bench = AlarmBench([X])
    for number in (1, 2):
        reported(bench, number, condition_id=None, source_node=f"ns=2;i={number}")
    assert reported(bench, 3, condition_id=None, source_node="ns=2;i=1", active=False, acknowledged=True)[-1:] == [
        "ns=2;i=1/Level normal"
    ]
    assert bench.states() == {"ns=2;i=2/Level": "unacknowledged"}
    assert reported(bench, 4, condition_id=None, source_node=None) == ["Boiler/Level unacknowledged"]


def test_transitions_are_not_alarms_of_the_device() -> None:
    """They have the keys of an event, and each would be an alarm about an alarm."""
    bench = AlarmBench([X])
    group = Group(MACHINE, Connection(), ("alarms",), (ALARM_POINTS[0].source,), 1.0, events=True)
    assert bench.alarms.step(group) is None


def test_alarms_of_a_device_are_bounded() -> None:
    """A device that invents conditions costs no memory."""
    bench = AlarmBench([X])
    for number in range(MAX_DEVICE_ALARMS + 5):
        reported(bench, number, condition_id=f"ns=2;i={number}")
    assert len(bench.states()) == MAX_DEVICE_ALARMS
    assert bench.alarms.ignored == 5


KEYS: dict[str, dict[str, Any]] = {
    "high": {"point": "x", "high": 10, "deadband": 1, "latch": True}, "rate": {"point": "x", "rate": 3},
    "low": {"point": "x", "low": 2, "suppress_when": "y > 5.0"}, "bad": {"point": "y", "bad_quality": True},
}  # fmt: skip


@pytest.mark.slow
@given(
    st.lists(
        st.tuples(st.sampled_from((0.0, 5.0, 9.5, 12.0, None)), st.sampled_from((0.0, 9.0, None)),
                  st.sampled_from(("", "acknowledge", "reset", "shelve", "unshelve", "restart"))),
        min_size=1, max_size=20,
    )
)  # fmt: skip
def test_a_restart_changes_nothing(steps: list[tuple[float | None, float | None, str]]) -> None:
    """With states saved and loaded between any readings; only a delay that runs would begin again."""
    straight, interrupted = AlarmBench([X, Y], **KEYS), AlarmBench([X, Y], **KEYS)
    for second, (x, y, action) in enumerate(steps):
        if action == "restart":
            again = AlarmBench([X, Y], **KEYS)
            again.seconds = interrupted.seconds
            assert again.alarms.load(interrupted.alarms.save()) == ([], [])
            interrupted = again
            assert interrupted.retained.keys() == straight.retained.keys()
        elif action:
            for name in KEYS:
                for bench in (straight, interrupted):
                    bench.alarms.command(action, name, "anna", "", 2.5)
            assert straight.news() == interrupted.news()
        assert interrupted.take(second, x, y) == straight.take(second, x, y)
        assert interrupted.states() == straight.states()


def test_an_alarm_that_is_gone_is_cleared_at_the_broker() -> None:
    """Its retained message would stay without limit; a changed kind begins again."""
    before = AlarmBench([X], a={"point": "x", "high": 10}, b={"point": "x", "high": 11})
    before.take(0, 12.0)
    after = AlarmBench([X], b={"point": "x", "low": 11})
    after.retained = dict(before.retained)
    assert after.alarms.load(before.alarms.save()) == (["b"], [])
    assert after.retained == {}


@pytest.mark.parametrize(
    "saved",
    [b"", b"[]", b"{}", b'{"serial":"x"}', b'{"serial":1,"alarms":[],"device":5}',
     b'{"serial":1,"alarms":{"a":["high"]},"device":{}}', b'{"serial":1,"alarms":{"a":5},"device":{}}',
     b'{"serial":1,"alarms":{"a":["high","odd",1,1,1,1,1,"","",""]},"device":{"d":[[1],2]}}'],
)  # fmt: skip
def test_a_damaged_state_begins_again(saved: bytes) -> None:
    """A gateway starts all the same."""
    bench = AlarmBench([X], a={"point": "x", "high": 10})
    _, damaged = bench.alarms.load(saved)
    assert "a" in damaged or saved.startswith(b'{"serial":1,"alarms":[]') or damaged == ["a"]
    assert bench.take(0, 12.0) == ["a unacknowledged"]


def test_states_are_saved_when_they_change_and_not_for_each_reading() -> None:
    """A plant without news writes nothing."""
    bench = AlarmBench([X], a={"point": "x", "high": 10})
    bench.take(0, 9.0)
    assert not bench.alarms.changed
    bench.take(1, 11.0)
    assert bench.alarms.changed
    assert bench.saves == 1
    bench.alarms.save()
    bench.take(2, 12.0)
    assert not bench.alarms.changed


def test_an_error_in_an_alarm_costs_no_reading() -> None:
    """It is logged, and the next scan goes on."""
    bench = AlarmBench([X], a={"point": "x", "high": 10})
    bench.alarms._sink = lambda _: 1 / 0  # type: ignore[assignment,return-value] # noqa: SLF001 - as a fault
    with capture_logs() as events:
        bench.take(0, 12.0)
    assert [event["event"] for event in events] == ["helper.failed"]


def test_a_machine_without_alarms_has_no_calculation() -> None:
    """It costs nothing."""
    machine: Any = type("Machine", (), {"results": ()})
    assert MachineAlarms.of(machine, None) is None  # type: ignore[arg-type] # not used


@pytest.mark.slow
def test_a_flood_loses_no_transition() -> None:
    """Five hundred alarms in one scan are five hundred records, each with a time of its own at the store."""
    points = [register(f"p{i:03d}", "float32") for i in range(500)]
    bench = AlarmBench(points, **{f"a{i:03d}": {"point": f"p{i:03d}", "high": 10} for i in range(500)})
    news = bench.take(0, *[11.0] * 500)
    assert news == [f"a{i:03d} unacknowledged" for i in range(500)]
    assert len(bench.retained) == 500
    assert bench.take(1, *[9.0] * 500) == [f"a{i:03d} returned_unacknowledged" for i in range(500)]
