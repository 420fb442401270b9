"""The figures of EEMUA 191 and ISA-18.2 out of transitions."""

from __future__ import annotations

from gateway.model.alarm_rates import STALE_AFTER, WINDOW
from gateway.model.path import MachinePath
from gateway.status.alarm_performance import Performance
from gateway.stores.tables import TABLES, TableRow

PRESS = MachinePath(*"esalm")
SECOND = 1_000_000
TABLE = TABLES["alarm"]


def row(time: int, alarm: str, state: str = "unacknowledged", priority: str = "high") -> TableRow:
    given = {"alarm": alarm, "state": state, "priority": priority}
    return TableRow(TABLE, PRESS, "alarms", time, tuple(given.get(column.name) for column in TABLE.columns))


def test_an_hour_with_a_flood_and_a_chattering_alarm() -> None:
    """Eleven in ten minutes are a flood; three within a minute chatter."""
    performance = Performance(0, 6 * WINDOW)
    performance.add([row(one * 20 * SECOND, "a" if one < 3 else f"b{one}") for one in range(11)])
    performance.add([row(2 * WINDOW, "c", priority="low"), row(2 * WINDOW + 1, "c", "normal")])
    found = performance.report()
    assert (found["annunciations"], found["peak_per_10_min"], found["average_per_10_min"]) == (12, 11, 2.0)
    assert found["windows_in_flood_percent"] == round(100 / 6, 2)
    assert found["by_priority"] == {"critical": 0, "high": 11, "medium": 0, "low": 1}
    assert found["chattering"] == [{"machine": "e/s/a/l/m", "alarm": "a", "times": 1}]
    assert found["top"][0] == {"machine": "e/s/a/l/m", "alarm": "a", "times": 3}
    assert found["standing"] == 9


def test_an_alarm_that_stands_for_a_day_is_stale() -> None:
    """Also if it was raised before the span of the report; one that was shelved is not on the list."""
    until = STALE_AFTER + WINDOW
    performance = Performance(until - WINDOW, until)
    performance.add([row(0, "old"), row(1, "shelf"), row(2, "shelf", "shelved"), row(3, "out", "out_of_service")])
    found = performance.report()
    assert (found["annunciations"], found["standing"], found["shelved"], found["out_of_service"]) == (0, 1, 1, 1)
    assert found["stale"] == [{"machine": "e/s/a/l/m", "alarm": "old", "since": 0}]
