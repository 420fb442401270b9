"""The section `calendar`: the shifts of a factory in its time zone, with breaks, holidays and planned stops.

Times of the plant are local: a shift over a change of the clocks is an hour longer or shorter. A local time that does
not exist on that day is that of an hour later; of a time that exists twice the first is meant.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from itertools import combinations
from typing import Annotated, NamedTuple, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from gateway.common.setting_types import Name, Section, Text
from gateway.settings.problems import likely_name, unknown

MINUTES = 24 * 60
"""Minutes of a day without a change of the clocks."""

MICRO, HOUR = 1_000_000, 3600 * 1_000_000

_TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")
_MIDNIGHT = "24:00"
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d)")


class Day(StrEnum):
    """A day of the week."""

    MON = "mon"
    TUE = "tue"
    WED = "wed"
    THU = "thu"
    FRI = "fri"
    SAT = "sat"
    SUN = "sun"


DAYS = tuple(Day)


def _minutes(written: object) -> int:
    if written == _MIDNIGHT:
        return MINUTES
    match = _TIME.fullmatch(written) if isinstance(written, str) else None
    if match is None:
        raise ValueError(f'{written!r} is not a time of the day; write hours and minutes, as in "06:00"')
    return int(match[1]) * 60 + int(match[2])


def _is_time(written: object) -> object:
    _minutes(written)
    return written


def _is_pause(written: object) -> object:
    begin, _, end = written.partition("-") if isinstance(written, str) else ("", "", "")
    try:
        _minutes(begin.strip()), _minutes(end.strip())
    except ValueError:
        raise ValueError(f'{written!r} is not a break; write its begin and end, as in "09:00-09:15"') from None
    return written


def _is_date(written: object) -> object:
    try:
        return date.fromisoformat(str(written)).isoformat()
    except ValueError:
        raise ValueError(f"{written!r} is not a date; write year, month and day, as in 2026-12-25") from None


def _is_moment(written: object) -> object:
    try:
        _moment(str(written))
    except ValueError:
        raise ValueError(f'{written!r} is not a local time; write date and time, as in "2026-12-24 14:00"') from None
    return written


def _moment(written: str) -> datetime:
    if not _MOMENT.fullmatch(written):
        raise ValueError(written)
    return datetime.fromisoformat(written)


def _is_zone(written: object) -> object:
    if not isinstance(written, str):
        return written
    try:
        ZoneInfo(written)
    except (ValueError, OSError, ZoneInfoNotFoundError):
        likely = likely_name("zone", written, sorted(available_timezones()))
        hint = f"did you mean {likely!r}?" if likely else "write its name, as in Europe/Berlin"
        raise ValueError(f"unknown time zone {written!r}; {hint}") from None
    return written


def _as_tuple(written: object) -> object:
    return tuple(written) if isinstance(written, list) else written


LISTED = BeforeValidator(_as_tuple)
"""A list, which is a tuple inside."""

Time = Annotated[str, BeforeValidator(_is_time), WithJsonSchema({"type": "string", "pattern": r"^\d\d:\d\d$"})]
"""A local time of the day."""

PAUSE, DATE = r"^\d\d:\d\d *- *\d\d:\d\d$", r"^\d{4}-\d\d-\d\d$"
"""How breaks and days are written, as JSON Schema."""

Pause = Annotated[str, BeforeValidator(_is_pause), WithJsonSchema({"type": "string", "pattern": PAUSE})]
"""A break: its begin and its end."""

Date = Annotated[str, BeforeValidator(_is_date), WithJsonSchema({"type": "string", "pattern": DATE})]
"""A day of the plant."""

Moment = Annotated[
    str, BeforeValidator(_is_moment),
    WithJsonSchema({"type": "string", "pattern": r"^\d{4}-\d\d-\d\d[ T]\d\d:\d\d$"}),
]  # fmt: skip
"""A local time of a day."""

Zone = Annotated[str, BeforeValidator(_is_zone), WithJsonSchema({"type": "string"})]
"""The name of a time zone."""


class ShiftSection(Section):
    """A shift, on some days of the week; one that ends at or before its begin ends on the next day."""

    begin: Time
    """The local time at which it begins, as in `"06:00"`."""
    end: Time
    """The local time at which it ends, as in `"14:00"`."""
    days: Annotated[tuple[Annotated[Day, Field(strict=False)], ...], LISTED] = DAYS
    """The days of the week on which it begins, as in `[mon, tue, wed, thu, fri]`."""
    breaks: Annotated[tuple[Pause, ...], LISTED] = ()
    """Breaks, in which no production is planned, as in `["09:00-09:15", "12:00-12:30"]`."""

    @property
    def first(self) -> int:
        """The minute of the day at which it begins."""
        return _minutes(self.begin)

    @property
    def length(self) -> int:
        """Minutes, on a day without a change of the clocks."""
        return (_minutes(self.end) - self.first - 1) % MINUTES + 1

    @property
    def pauses(self) -> list[tuple[int, int]]:
        """The breaks, in minutes of the day on which the shift begins."""
        found = []
        for one in self.breaks:
            begin, end = (_minutes(part.strip()) for part in one.split("-"))
            begin += MINUTES if begin < self.first else 0
            found.append((begin, begin + (end - begin - 1) % MINUTES + 1))
        return found

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if not self.days:
            raise ValueError("days are empty; write the days of the week, or leave them out for all")
        for written, (_, end) in zip(self.breaks, self.pauses, strict=True):
            if end > self.first + self.length:
                raise ValueError(f"the break {written} is not within the shift {self.begin}-{self.end}")
        return self


class StopSection(Section):
    """A time in which no production is planned."""

    begin: Moment
    """The local time at which it begins, as in `"2026-12-24 14:00"`."""
    end: Moment
    """The local time at which it ends, as in `"2026-12-27 06:00"`."""
    reason: Text = ""
    """For people, as in `Maintenance of the boiler`."""

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if _moment(self.begin) >= _moment(self.end):
            raise ValueError(f"it ends at {self.end}, before it begins; write the earlier time first")
        return self


class CalendarSection(Section):
    """When a factory plans to produce."""

    zone: Zone = "UTC"
    """The time zone of the plant, as in `Europe/Berlin`."""
    shifts: Annotated[dict[Name, ShiftSection], Field(min_length=1)] = {
        "day": ShiftSection.model_validate({"begin": "00:00", "end": _MIDNIGHT})
    }
    """The shifts by their names, as in `{early: {begin: "06:00", end: "14:00"}}`."""
    holidays: Annotated[tuple[Date, ...], LISTED] = ()
    """Days on which no shift begins, as in `[2026-12-25, 2026-12-26]`."""
    stops: Annotated[tuple[StopSection, ...], LISTED] = ()
    """Planned stops of the whole factory, as in `[{begin: "2026-12-24 14:00", end: "2026-12-27 06:00"}]`."""

    @model_validator(mode="after")
    def _does_not_overlap(self) -> Self:
        begins = [
            (DAYS.index(day) * MINUTES + shift.first, shift.length, name)
            for name, shift in self.shifts.items()
            for day in dict.fromkeys(shift.days)
        ]
        for (one, length, name), (other, other_length, other_name) in combinations(begins, 2):
            week = 7 * MINUTES
            if (other - one) % week < length or (one - other) % week < other_length:
                at = max(one, other) if abs(one - other) < MINUTES else min(one, other)
                day, minute = DAYS[at // MINUTES % 7], at % MINUTES
                raise ValueError(
                    f"the shifts {name} and {other_name} overlap on {day} at {minute // 60:02}:{minute % 60:02};"
                    " let one end where the other begins"
                )
        return self


class Shift(NamedTuple):
    """A shift of a day. `begin` and `end` are in microseconds since the epoch; `day` is that on which it begins."""

    day: str
    name: str
    begin: int
    end: int

    def __str__(self) -> str:
        return f"{self.day}/{self.name}"


class Span(NamedTuple):
    """A time from `begin` to before `end` that is planned throughout, or not; `shift` is None outside of shifts."""

    begin: int
    end: int
    shift: Shift | None
    planned: bool


class Calendar:
    """The shifts of a calendar along the time; times are in microseconds since the epoch, UTC.

    Days are computed when they are needed. Holidays and stops are those of the section.
    """

    def __init__(self, section: CalendarSection) -> None:
        self.section = section
        self.zone = ZoneInfo(section.zone)
        self._holidays = frozenset(section.holidays)
        self._stops = sorted((self._utc(_moment(one.begin)), self._utc(_moment(one.end))) for one in section.stops)
        self._days: dict[date, list[Shift]] = {}
        self._pauses: dict[Shift, list[tuple[int, int]]] = {}

    def local(self, time: int) -> datetime:
        """Return a time as the clocks of the plant show it."""
        return datetime.fromtimestamp(time / MICRO, UTC).astimezone(self.zone)

    def shift_at(self, time: int) -> Shift | None:
        """Return the shift at a time, None between shifts."""
        return next((one for one in self._near(time) if one.begin <= time < one.end), None)

    def shifts(self, since: int, until: int) -> list[Shift]:
        """Return the shifts that begin from `since` to before `until`, in their order."""
        first, last = self.local(since).date() - timedelta(1), self.local(until).date()
        days = (first + timedelta(n) for n in range((last - first).days + 1))
        return [one for day in days for one in self.of_day(day) if since <= one.begin < until]

    def last_ended(self, time: int) -> Shift | None:
        """Return the shift that ended last at a time, within the last 40 days."""
        for back in range(40):
            day = self.local(time).date() - timedelta(back)
            ended = [one for one in self.of_day(day) if one.end <= time]
            before = [one for one in self.of_day(day - timedelta(1)) if one.end <= time]
            if ended or before:
                return max((*ended, *before), key=lambda one: one.end)
        return None

    def of_day(self, day: date) -> list[Shift]:
        """Return the shifts that begin on a day, in their order."""
        if day not in self._days:
            if len(self._days) > 1000:  # noqa: PLR2004 - nearly three years
                self._days.clear()
                self._pauses.clear()
            self._days[day] = [] if day.isoformat() in self._holidays else self._shifts_of(day)
        return self._days[day]

    def _shifts_of(self, day: date) -> list[Shift]:
        found = []
        for name, one in self.section.shifts.items():
            if DAYS[day.weekday()] not in one.days:
                continue
            shift = Shift(day.isoformat(), name, self._at(day, one.first), self._at(day, one.first + one.length))
            self._pauses[shift] = [(self._at(day, begin), self._at(day, end)) for begin, end in one.pauses]
            found.append(shift)
        return sorted(found, key=lambda one: one.begin)

    def _at(self, day: date, minute: int) -> int:
        naive = datetime.combine(day + timedelta(minute // MINUTES), datetime.min.time())
        return self._utc(naive + timedelta(minutes=minute % MINUTES))

    def _utc(self, naive: datetime) -> int:
        since = naive.replace(tzinfo=self.zone).astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
        return round(since.total_seconds()) * MICRO

    def _near(self, time: int) -> list[Shift]:
        today = self.local(time).date()
        return [one for n in (-1, 0, 1) for one in self.of_day(today + timedelta(n))]

    def planned(self, shift: Shift) -> list[tuple[int, int]]:
        """Return the times of a shift in which production is planned: without breaks and planned stops."""
        return _without((shift.begin, shift.end), [*self._pauses_of(shift), *self._stops])

    def _pauses_of(self, shift: Shift) -> list[tuple[int, int]]:
        self.of_day(date.fromisoformat(shift.day))
        return self._pauses.get(shift, [])

    def span_at(self, time: int) -> Span:
        """Return the span that contains a time; outside of shifts it ends after a day at the latest."""
        near = self._near(time)
        shift = next((one for one in near if one.begin <= time < one.end), None)
        if shift is None:
            begin = max((one.end for one in near if one.end <= time), default=time)
            end = min((one.begin for one in near if one.begin > time), default=time + 24 * HOUR)
            return Span(begin, end, None, planned=False)
        edges = sorted({shift.begin, shift.end, *(edge for planned in self.planned(shift) for edge in planned)})
        at = bisect_right(edges, time)
        is_planned = any(begin <= time < end for begin, end in self.planned(shift))
        return Span(edges[at - 1], edges[at], shift, is_planned)

    def hour_at(self, time: int) -> tuple[int, int]:
        """Return begin and end of the hour of the plant's clocks that contains a time."""
        offset = self.local(time).utcoffset() or timedelta()
        behind = (time + round(offset.total_seconds()) * MICRO) % HOUR
        return time - behind, time - behind + HOUR

    def find(self, written: str, now: int) -> Shift:
        """Return the shift of `current`, `last`, or `2026-11-30/early`. Raises `ValueError` where there is none."""
        if written == "current":
            found = self.shift_at(now)
            if found is None:
                raise ValueError("there is no shift now; write last, or a day and a shift, as in 2026-11-30/early")
            return found
        if written == "last":
            found = self.last_ended(now)
            if found is None:
                raise ValueError("no shift has ended in the last 40 days")
            return found
        day, _, name = written.partition("/")
        try:
            shifts = self.of_day(date.fromisoformat(day))
        except (ValueError, OverflowError):
            message = f"{written!r} is not a shift; write last, current, or a day and a shift, as in 2026-11-30/early"
            raise ValueError(message) from None
        found = next((one for one in shifts if one.name == name), None)
        if found is not None:
            return found
        if name not in self.section.shifts:
            raise ValueError(unknown("shift", name, self.section.shifts))
        raise ValueError(f"no shift {name} begins on {day}: it is a holiday, or none of the days of this shift")


def _without(whole: tuple[int, int], parts: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return a time without some parts of it."""
    found = [whole]
    for begin, end in parts:
        found = [
            piece
            for one in found
            for piece in ((one[0], min(one[1], begin)), (max(one[0], end), one[1]))
            if piece[0] < piece[1]
        ]
    return found


@lru_cache(maxsize=16)
def _shared(written: str) -> Calendar:
    return Calendar(CalendarSection.model_validate_json(written))


def calendar_of(section: CalendarSection) -> Calendar:
    """Return the calendar of a section; all machines share one."""
    return _shared(section.model_dump_json())
