"""The pure parts of the charts: scales, ticks, lines and series."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from static_pages import serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def call(browser: Browser) -> Iterator[Callable[..., Any]]:
    """A function that calls a function of chart_modules.js."""
    script = """async ([name, given]) => (await import("/tests/chart_modules.js"))[name](...given)"""
    with serve() as url:
        page = browser.new_page()
        page.goto(url)
        yield lambda name, *given: page.evaluate(script, [name, list(given)])
        page.close()


@pytest.mark.parametrize(
    ("low", "high", "most", "ticks"),
    [
        (0, 10, 5, [0, 2, 4, 6, 8, 10]),
        (-1, 1, 4, [-1, -0.5, 0, 0.5, 1]),
        (0.1, 0.35, 5, [0.1, 0.15, 0.2, 0.25, 0.3, 0.35]),
        (5, 5, 5, [5]),
    ],
)
def test_numbers_of_an_axis_are_round(
    call: Callable[..., Any], low: float, high: float, most: int, ticks: list[float]
) -> None:
    assert call("numberTicks", low, high, most)["ticks"] == pytest.approx(ticks)


def test_an_axis_of_one_value_has_a_height(call: Callable[..., Any]) -> None:
    """A constant must not divide by zero."""
    for value in (0, 5, -3, 1e12):
        low, high = call("roundSpan", value, value)
        assert low < value < high


def test_times_of_an_axis_are_round_in_the_plant_s_zone(call: Callable[..., Any]) -> None:
    found = call("times", "Asia/Kolkata", "2026-01-05T00:10:00Z", "2026-01-05T12:00:00Z", 6)
    assert [label for _, label, _, _ in found] == ["06:00", "08:00", "10:00", "12:00", "14:00", "16:00"]
    assert found[0][0] == "2026-01-05T00:30:00.000Z"
    assert found[0][2] == "Mon 5 Jan"
    assert [one[2] for one in found[1:]] == [""] * 5


def test_an_hour_that_comes_twice_has_its_offset(call: Callable[..., Any]) -> None:
    """On 25 October 2026 clocks in Berlin are set from 3:00 back to 2:00."""
    found = call("times", "Europe/Berlin", "2026-10-24T22:30:00Z", "2026-10-25T04:00:00Z", 8)
    labels = [label for _, label, _, _ in found]
    assert labels == ["01:00 +02", "02:00 +02", "02:00 +01", "03:00 +01", "04:00 +01", "05:00"]
    times = [time for time, _, _, _ in found]
    assert len(set(times)) == len(times)


def test_an_hour_that_does_not_exist_has_no_tick(call: Callable[..., Any]) -> None:
    """On 29 March 2026 clocks in Berlin are set from 2:00 to 3:00."""
    found = call("times", "Europe/Berlin", "2026-03-28T22:00:00Z", "2026-03-29T10:00:00Z", 8)
    assert [label.split()[0] for _, label, _, _ in found] == ["00:00", "04:00", "06:00", "08:00", "10:00", "12:00"]
    assert found[0][3] is True


def test_days_begin_at_midnight_also_over_a_change_of_the_clock(call: Callable[..., Any]) -> None:
    found = call("times", "Europe/Berlin", "2026-10-23T00:00:00Z", "2026-10-28T00:00:00Z", 6)
    assert [time for time, _, _, _ in found] == [
        f"2026-10-{day}T{hour}:00:00.000Z" for day, hour in ((23, 22), (24, 22), (25, 23), (26, 23), (27, 23))
    ]
    assert [label for _, label, _, _ in found] == ["24 Oct", "25 Oct", "26 Oct", "27 Oct", "28 Oct"]


@pytest.mark.parametrize(
    ("to", "labels"),
    [
        (
            "2026-01-01T00:00:00.050Z",
            ["00:00:00.000", "00:00:00.010", "00:00:00.020", "00:00:00.030", "00:00:00.040"],
        ),
        ("2026-01-01T00:00:50Z", ["00:00:00", "00:00:10", "00:00:20", "00:00:30", "00:00:40", "00:00:50"]),
        ("2026-01-28T00:00:00Z", ["5 Jan", "12 Jan", "19 Jan", "26 Jan"]),
        ("2026-12-31T00:00:00Z", ["Jan", "Apr", "Jul", "Oct"]),
        ("2032-01-01T00:00:00Z", ["2026", "2028", "2030", "2032"]),
    ],
)
def test_an_axis_spans_from_milliseconds_to_years(call: Callable[..., Any], to: str, labels: list[str]) -> None:
    found = call("times", "UTC", "2026-01-01T00:00:00Z", to, 6)
    assert [label for _, label, _, _ in found][: len(labels)] == labels


def test_the_time_of_a_cycle_counts_from_its_start(call: Callable[..., Any]) -> None:
    assert call("elapsed", 0, 780, 6) == ["0:00", "5:00", "10:00"]
    minus = "\N{MINUS SIGN}"
    assert call("elapsed", -1, 1, 4) == [f"{minus}0:01.000", f"{minus}0:00.500", "0:00.000", "0:00.500", "0:01.000"]
    assert call("elapsedText", 3_723_500_000) == "1:02:03"


def test_a_time_has_its_offset(call: Callable[..., Any]) -> None:
    assert call("full", "Europe/Berlin", "2026-07-01T10:00:00Z") == "1 Jul 2026, 12:00:00 UTC+02"
    assert call("full", "Asia/Kolkata", "2026-07-01T10:00:00Z").endswith("15:30:00 UTC+05:30")


@pytest.mark.parametrize("time", ["2026-07-01T10:00:00.000Z", "2026-03-29T01:00:00.000Z", "2026-12-31T23:59:59.000Z"])
def test_a_time_of_the_fields_is_of_the_plant_s_zone(call: Callable[..., Any], time: str) -> None:
    assert call("wallClock", "Europe/Berlin", time)[1] == time


@pytest.mark.parametrize(
    ("now", "begins", "begun"),
    [
        ("2026-07-01T10:00:00Z", "06:00", "2026-07-01T04:00:00Z"),
        ("2026-07-01T03:59:59Z", "06:00", "2026-06-30T20:00:00Z"),
        (
            "2026-03-29T02:00:00Z",
            "22:00",
            "2026-03-28T21:00:00Z",
        ),  # 04:00 in summer time; the shift began in winter time
        ("2026-03-29T03:59:59Z", "06:00", "2026-03-28T21:00:00Z"),  # a night shift of seven hours
        ("2026-03-29T04:00:00Z", "06:00", "2026-03-29T04:00:00Z"),
        (
            "2026-10-25T04:30:00Z",
            "22:00",
            "2026-10-24T20:00:00Z",
        ),  # 05:30 in winter time: a night shift of nine hours
        ("2026-10-25T01:15:00Z", "02:00", "2026-10-25T00:00:00Z"),  # 02:15 for the second time
        ("2026-03-29T01:45:00Z", "02:30", "2026-03-29T01:30:00Z"),  # 02:30 does not exist
    ],
)
def test_a_shift_begins_at_its_time_of_day_also_when_the_clock_is_changed(
    call: Callable[..., Any], now: str, begins: str, begun: str
) -> None:
    """An hour too much would count the parts of the shift before."""
    assert call("shift", "Europe/Berlin", now, begins) == begun.replace("Z", ".000Z")


def test_a_gap_and_a_bad_reading_end_a_line(call: Callable[..., Any]) -> None:
    steps = call("trace", [0, 1, 2, 10, 11, 12], [5, 6, 7, 8, None, 9], 3)
    assert steps == [
        ["M", -1, 5], ["L", 0, 5], ["L", 1, 6], ["L", 2, 7], ["M", 9, 8], ["L", 10, 8], ["M", 11, 9], ["L", 12, 9],
    ]  # fmt: skip


def test_many_samples_are_drawn_as_their_extremes_in_each_column(call: Callable[..., Any]) -> None:
    """The picture is that of all samples, with a hundredth of the work."""
    found = call("traceMany", 100_000, 500)
    assert found["same"] is True
    assert found["steps"] <= 500 * 4 + 1


def test_a_time_is_found_between_others(call: Callable[..., Any]) -> None:
    assert [call("search", [1, 3, 3, 7], time) for time in (0, 1, 2, 3, 4, 8)] == [0, 0, 1, 1, 3, 4]


def test_a_line_has_the_nearest_reading_and_a_state_the_one_that_holds(call: Callable[..., Any]) -> None:
    data = {"kind": "readings", "time": [0, 10], "value": [1, 2], "quality": None}
    line = call("samples", {"gap": 20}, data, None, [4, 6, 29, 31])
    assert [one and one["value"] for one in line] == [1, 2, 2, None]
    state = call("samples", {"gap": 20, "steps": True, "labels": {"1": "load", "2": "steam"}}, data, None, [9, 10])
    assert [one["text"] for one in state] == ["load", "steam"]


def test_a_bad_reading_has_its_reason(call: Callable[..., Any]) -> None:
    data = {"kind": "readings", "time": [0], "value": [None], "quality": [3], "reasons": {"0": "no_response"}}
    [one] = call("samples", {"gap": 5}, data, None, [1])
    assert (one["value"], one["quality"], one["reason"]) == (None, 3, "no_response")


def test_a_bucket_has_its_mean_and_its_extremes_and_live_readings_follow_it(call: Callable[..., Any]) -> None:
    data = {
        "kind": "buckets", "width": 10, "start": [0, 10], "min": [1, 2], "max": [5, 6], "first": [1, 2],
        "last": [5, 6], "mean": [3, 4], "values": [9, 9], "uncertain": None, "bad": [0, 1],
    }  # fmt: skip
    live = {"time": [25], "value": [7], "quality": [1]}
    first, second, last = call("samples", {"gap": 5}, data, live, [3, 12, 26])
    assert (first["value"], first["low"], first["high"], first["quality"]) == (3, 1, 5, 1)
    assert (second["value"], second["quality"]) == (4, 3)
    assert (last["value"], last["bucket"]) == (7, False)


def test_live_readings_are_bounded_and_survive_new_data(call: Callable[..., Any]) -> None:
    """A page that is open for weeks must not grow."""
    found = call("appendMany", 100_000)
    assert found["newest"] == 99_999
    assert 40_000 <= found["kept"] <= 85_000
    assert found["room"] <= 170_000
    assert (found["first"], found["last"], found["sorted"]) == (1, 99_999, True)


def test_series_of_one_unit_share_an_axis_and_four_axes_are_drawn(call: Callable[..., Any]) -> None:
    assert call("axes", ["bar", "°C", "bar", "kN", "mm", "kW", "kW"]) == [
        ["bar", True, "left", 0, 2], ["°C", True, "right", 0, 1], ["kN", True, "left", 1, 1],
        ["mm", True, "right", 1, 1], ["kW", False, "left", 0, 1], ["kW", False, "left", 0, 1],
    ]  # fmt: skip


def test_alarms_are_bands_from_their_beginning_to_their_end(call: Callable[..., Any]) -> None:
    """A standing alarm has no end, and one that only ended began before the span."""
    alarm = {"source": "press", "message": "", "priority": 2}
    changes = [
        alarm | {"name": "Oil", "time": 50, "active": False},
        alarm | {"name": "Door", "time": 40, "active": True},
        alarm | {"name": "Oil", "time": 30, "active": True},
        alarm | {"name": "Oil", "time": 20, "active": True},
        alarm | {"name": "Air", "time": 10, "active": False},
    ]
    assert [(one["label"], one["begin"], one["end"], one["kind"]) for one in call("alarmBands", changes, 0)] == [
        ("Air", 0, 10, "priority-2"), ("Oil", 20, 50, "priority-2"), ("Door", 40, None, "priority-2"),
    ]  # fmt: skip


def test_an_alarm_that_was_not_active_before_has_no_band(call: Callable[..., Any]) -> None:
    """A press that is switched on suppresses its alarms by design: nobody was alarmed before."""
    ended = {"source": "press", "message": "", "priority": 2, "active": False, "acknowledged": True, "time": 10}
    changes = [
        ended | {"name": name, "previous": previous}
        for name, previous in (
            ("Suppressed", "normal"), ("Active again", "suppressed"), ("Reset", "latched"), ("Leak", "acknowledged"),
            ("Of a device", ""),
        )
    ]  # fmt: skip
    assert [(one["label"], one["begin"], one["end"]) for one in call("alarmBands", changes, 0)] == [("Leak", 0, 10)]


def test_an_axis_stays_while_the_values_fit(call: Callable[..., Any]) -> None:
    """A live chart that jumps with each value can't be read."""
    first, same, wider, narrow = call("fitted", [[0, 9], [0.5, 8.5], [0, 30], [4, 5]])
    assert first == same
    assert wider[1] >= 30
    assert narrow[1] - narrow[0] < 2
