"""The calendar of a factory: shifts over midnight and over changes of the clocks, breaks, holidays, planned stops."""

from __future__ import annotations

import itertools
from datetime import UTC, date, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gateway.settings.calendar import HOUR, MICRO, Calendar, CalendarSection

THREE = {
    "zone": "Europe/Berlin",
    "shifts": {
        "early": {"begin": "06:00", "end": "14:00", "breaks": ["09:00-09:15", "12:00-12:30"]},
        "late": {"begin": "14:00", "end": "22:00"},
        "night": {"begin": "22:00", "end": "06:00", "breaks": ["01:45-03:15"]},
    },
}


def calendar(**keys: Any) -> Calendar:
    return Calendar(CalendarSection.model_validate_json(orjson.dumps(keys or THREE)))


def at(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * MICRO


def problem(**keys: Any) -> str:
    with pytest.raises(ValidationError) as raised:
        CalendarSection.model_validate_json(orjson.dumps(keys))
    return str(raised.value)


def test_a_year_of_three_shifts_has_no_hole_and_both_changes_of_the_clocks() -> None:
    """Night shifts are 7 and 9 hours long then; their breaks, too, follow the clocks on the wall."""
    found = calendar()
    shifts = found.shifts(at("2026-01-01T00:00"), at("2027-01-01T00:00"))
    assert all(one.end == other.begin for one, other in itertools.pairwise(shifts))
    lengths = {str(one): (one.end - one.begin) // HOUR for one in shifts if one.end - one.begin != 8 * HOUR}
    assert lengths == {"2026-03-28/night": 7, "2026-10-24/night": 9}
    spring = found.find("2026-03-28/night", 0)
    assert sum(end - begin for begin, end in found.planned(spring)) == 7 * HOUR - HOUR // 2  # 01:45-03:15 is 30 min
    autumn = found.find("2026-10-24/night", 0)
    assert sum(end - begin for begin, end in found.planned(autumn)) == 9 * HOUR - 5 * HOUR // 2


@given(st.integers(at("2025-12-30T00:00"), at("2027-01-02T00:00")))
def test_spans_cover_the_time_without_overlap(time: int) -> None:
    """Each moment is in one span, and the span after it begins where it ends."""
    found = calendar()
    span = found.span_at(time)
    assert span.begin <= time < span.end
    assert found.span_at(span.end).begin == span.end
    assert found.span_at(span.end - 1) == span
    begin, end = found.hour_at(time)
    assert begin <= time < end
    assert found.local(begin).minute == found.local(begin).second == 0


def test_weekends_holidays_and_planned_stops_plan_nothing() -> None:
    """A shift that begins on the eve of a holiday ends as always."""
    found = calendar(
        zone="Europe/Berlin",
        shifts={
            "day": {"begin": "06:00", "end": "22:00", "days": ["mon", "tue", "wed", "thu", "fri"]},
            "night": {"begin": "22:00", "end": "06:00", "days": ["thu"]},
        },
        holidays=["2026-12-25"],
        stops=[{"begin": "2026-12-23 20:00", "end": "2026-12-24 07:30", "reason": "boiler"}],
    )
    names = [str(one) for one in found.shifts(at("2026-12-23T00:00"), at("2026-12-29T00:00"))]
    assert names == ["2026-12-23/day", "2026-12-24/day", "2026-12-24/night", "2026-12-28/day"]
    assert sum(end - begin for begin, end in found.planned(found.find("2026-12-23/day", 0))) == 14 * HOUR
    assert sum(end - begin for begin, end in found.planned(found.find("2026-12-24/day", 0))) == 14.5 * HOUR
    weekend = found.span_at(at("2026-12-27T12:00"))
    assert (weekend.shift, weekend.planned) == (None, False)
    assert found.shift_at(at("2026-12-25T04:59")) == found.find("2026-12-24/night", 0)


@pytest.mark.parametrize("written", ["2026-12-25", "20261225", "2026-W52-5"])
def test_a_holiday_may_be_written_as_any_date_of_iso_8601(written: str) -> None:
    """Its days are compared, and no texts."""
    found = calendar(
        zone="Europe/Berlin", shifts={"day": {"begin": "06:00", "end": "22:00"}}, holidays=[written]
    )  # fmt: skip
    names = [str(one) for one in found.shifts(at("2026-12-24T00:00"), at("2026-12-27T00:00"))]
    assert names == ["2026-12-24/day", "2026-12-26/day"]


def test_shifts_are_found_by_their_names() -> None:
    """The last is that which ended last, not the last that began."""
    found = calendar()
    now = at("2026-11-30T20:30")  # 21:30 in Berlin
    assert str(found.find("current", now)) == "2026-11-30/late"
    assert str(found.find("last", now)) == "2026-11-30/early"
    assert str(found.find("last", at("2026-11-30T05:30"))) == "2026-11-29/night"
    for written, message in (
        ("2026-11-30/earlyy", "unknown shift 'earlyy'; did you mean 'early'?"),
        ("yesterday", "write last, current, or a day and a shift"),
    ):
        with pytest.raises(ValueError, match=message.replace("?", r"\?")):
            found.find(written, now)
    sundays = calendar(shifts={"s": {"begin": "06:00", "end": "14:00", "days": ["sun"]}})
    with pytest.raises(ValueError, match="no shift s begins on 2026-11-30"):
        sundays.find("2026-11-30/s", now)
    with pytest.raises(ValueError, match="there is no shift now"):
        sundays.find("current", now)
    assert str(sundays.find("last", now)) == "2026-11-29/s"


def test_without_a_section_a_day_is_a_shift() -> None:
    """In UTC, since nothing says where the factory is."""
    found = Calendar(CalendarSection())
    assert [one.name for one in found.of_day(date(2026, 11, 30))] == ["day"]
    assert found.span_at(at("2026-11-30T12:00")).planned


def shift(begin: str, end: str, **keys: Any) -> dict[str, Any]:
    return {"begin": begin, "end": end, **keys}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"zone": "Europe/Berln"}, "unknown time zone 'Europe/Berln'; did you mean 'Europe/Berlin'?"),
        (
            {"shifts": {"a": shift("06:00", "14:30"), "b": shift("14:00", "22:00")}},
            "the shifts a and b overlap on mon at 14:00",
        ),
        (
            {"shifts": {"a": shift("22:00", "06:30", days=["sun"]), "b": shift("06:00", "14:00", days=["mon"])}},
            "a and b overlap on mon at 06:00",
        ),
        ({"shifts": {"a": shift("6:00", "14:00")}}, "'6:00' is not a time of the day; write hours and minutes"),
        ({"shifts": {"a": shift("06:00", "14:00", breaks=["13:50-14:10"])}}, "13:50-14:10 is not within the shift"),
        ({"shifts": {"a": shift("06:00", "14:00", breaks=["09:00"])}}, "'09:00' is not a break"),
        ({"holidays": ["25.12.2026"]}, "'25.12.2026' is not a date"),
        ({"stops": [{"begin": "2026-12-24 14:00", "end": "2026-12-24 13:00"}]}, "before it begins"),
        ({"shifts": {}}, "at least 1"),
    ],
)  # fmt: skip
def test_mistakes_say_what_would_be_right(keys: dict[str, Any], message: str) -> None:
    """Overlapping shifts would count time twice."""
    assert message in problem(**keys)


def test_the_file_and_the_line_of_a_mistake_are_reported(tmp_path: Any) -> None:
    """As for all sections."""
    from gateway.settings.load import load_factory
    from gateway.settings.problems import ConfigurationError

    file = tmp_path / "f.yaml"
    file.write_text(
        "format: 1\nfactory: {enterprise: e, site: s}\ngateway: {id: g}\nbroker: {url: 'mqtt://localhost'}\n"
        "calendar:\n  zone: Europe/Berlin\n  shifts:\n    early: {begin: '06:00', end: '25:00'}\n"
        "lines: {l: {area: a, machines: {m: {template: curing-press, connection: 'modbus+tcp://h',"
        " production: {good: goo}}}}}\n"
    )
    with pytest.raises(ConfigurationError) as raised:
        load_factory(file)
    texts = [str(one).removeprefix(str(file)) for one in raised.value.problems]
    assert texts[0].startswith(":8:")
    assert "calendar.shifts.early.end: '25:00' is not a time of the day" in texts[0]
    assert texts[1].startswith(":9:")
    assert "lines.l.machines.m.production.good: unknown point 'goo'" in texts[1]
