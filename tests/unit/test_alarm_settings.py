"""Alarms as written: each mistake is reported with its place and its correction."""

from __future__ import annotations

from typing import Any

import pytest
from alarmed import alarm_set
from points import register

from gateway.settings.alarm_set import Kind, Priority

POINTS = (
    register("x", "float32", unit="bar"), register("kpa", "float32", unit="kPa"), register("open", "bool"),
    register("state", labels={0: "stopped", 4: "running"}), register("name", "string"),
)  # fmt: skip


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"point": "x"}, "has no condition; write one of high_high, high, low"),
        ({"point": "y", "high": 5}, "unknown point 'y'"),
        ({"high": 5}, "write the point that the alarm is about"),
        ({"point": "x", "high": 5, "stale": "5s"}, "is a second condition beside high"),
        ({"point": "x", "high": 5, "low": 7}, "write low_low < low < high < high_high"),
        ({"point": "x", "high": 5, "high_high": 5}, "write low_low < low < high < high_high"),
        ({"point": "x", "deviation": 5}, "deviation and set_point belong together"),
        ({"point": "x", "deviation": 5, "set_point": "kpa"}, "x in bar"),
        ({"point": "x", "rate": 0}, "a rate of 0 is not a limit"),
        ({"point": "name", "high": 5}, "high is for numbers, and name has type string"),
        ({"point": "open", "state": "yes"}, "open is true or false; write one of both"),
        ({"point": "state", "state": ["moving"]}, "unknown label 'moving'; there are: running, stopped"),
        ({"point": "state", "state": True}, "write a label, a number or a text"),
        ({"expression": "x + 1.0"}, "needs a condition, and this is of type float"),
        ({"expression": "y > 1.0"}, "unknown point 'y'"),
        ({"expression": "x > "}, "character"),
        ({"expression": "x > 1.0", "point": "x"}, "leave point out"),
        ({"expression": "x > 1.0", "deadband": 1}, "a deadband is for limits"),
        ({"point": "x", "high": 5, "suppress_when": "state"}, "needs a condition"),
        ({"point": "x", "high": 5, "priority": "urgent"}, "is not a priority; write critical, high, medium, low"),
        ({"point": "x", "high": 5, "low": 1, "priority": {"high": "low"}}, "write a priority for each of high, low"),
        ({"point": "x", "high": 5, "message": "{y}"}, "unknown point 'y'"),
        ({"point": "x", "high": 5, "on_delay": 5}, "is not a duration"),
        ({"point": "x", "high": 5, "hihg": 5}, "unknown key 'hihg'; did you mean 'high'"),
        ({"point": "x", "high": "five"}, "is not a number"),
        ({"point": "x", "deviation": -1, "set_point": "x"}, "more than 0"),
    ],
)  # fmt: skip
def test_mistakes_say_what_would_be_right(keys: dict[str, Any], message: str) -> None:
    """All at once, when the configuration is validated."""
    with pytest.raises(AssertionError) as caught:
        alarm_set(POINTS, {"a": keys})
    assert message in str(caught.value)


def test_an_alarm_is_what_was_written() -> None:
    """Defaults are those of the standard: a medium priority, no delays, no latch."""
    [alarm] = alarm_set(POINTS, {"a": {"point": "x", "high": 5}}).alarms
    assert (alarm.name, alarm.kind, alarm.limit, alarm.unit, alarm.priority) == (
        "a",
        Kind.HIGH,
        5.0,
        "bar",
        Priority.MEDIUM,
    )
    assert (alarm.on_delay, alarm.off_delay, alarm.latch, alarm.category) == (0.0, 0.0, False, "process")


def test_a_message_names_points_and_parameters() -> None:
    """A point becomes its value at run time, a parameter its value at once."""
    found = alarm_set(POINTS, {"a": {"point": "x", "high": 5, "message": "{side} is {x}!"}}, {"side": "left"})
    assert found.alarms[0].message == ("left is ", "x", "!")
    assert [point.name for point in found.inputs] == ["x"]


@pytest.mark.parametrize(
    "keys",
    [{"point": "gone", "high": 5}, {"expression": "gone > 5.0"}, {"point": "x", "high": 5, "suppress_when": "gone"},
     {"point": "x", "high": 5, "message": "{gone}"}, {"point": "x", "deviation": 5, "set_point": "gone"}],
)  # fmt: skip
def test_an_alarm_of_a_point_that_is_off_is_off(keys: dict[str, Any]) -> None:
    """A machine without a sensor needs no second line for each of its alarms."""
    assert not alarm_set(POINTS, {"a": keys}, off=("gone",))


def test_an_alarm_that_is_off_is_not_there() -> None:
    """A machine can take out an alarm of its template."""
    assert not alarm_set(POINTS, {"a": {"point": "x", "high": 5, "enabled": False}})
