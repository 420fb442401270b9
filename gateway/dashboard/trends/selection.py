"""Points and a span of time, out of the query of a URL."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, NamedTuple

from drivers.base import parse_duration
from gateway.dashboard.texts.text import _
from gateway.dashboard.trends.errors import BadRequest
from gateway.model.path import MachinePath

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAX_POINTS = 50
"""Points of one request."""

MAX_SPAN = 5 * 366 * 86_400_000_000
"""Microseconds of the longest span."""

MAX_WIDTH = 4_000
"""Pixels of the widest chart."""

MAX_TEXT = 1_000
"""Characters of one value of a query."""

_DEFAULT_FROM, _DEFAULT_WIDTH = "-1h", 1_000

_EPOCH = datetime.fromtimestamp(0, UTC)

_TIMES = range(-62_135_596_800_000_000, 253_402_300_800_000_000)
"""Microseconds from the year 1 to the end of the year 9999."""

_NUMBER = re.compile(r"-?[0-9]{1,18}")


class PointName(NamedTuple):
    """A point and its machine."""

    path: MachinePath
    point: str

    def __str__(self) -> str:
        return f"{self.path}/{self.point}"


class Selection(NamedTuple):
    """Points, a span from `since` to before `until` in microseconds since the epoch, and the pixels to fill."""

    points: tuple[PointName, ...]
    since: int
    until: int
    width: int = _DEFAULT_WIDTH


def clock() -> int:
    """Return the time in microseconds since the epoch."""
    return time.time_ns() // 1000


def machine_of(written: str) -> MachinePath:
    """Return a path out of `enterprise/site/area/line/machine`. Raises `BadRequest`."""
    levels = written.split("/")
    if len(written) > MAX_TEXT or len(levels) != len(MachinePath._fields) or not all(levels):
        wrong = _("{text} is not a machine; write enterprise/site/area/line/machine", text=_quoted(written))
        raise BadRequest(wrong)
    return MachinePath(*levels)


def point_of(written: str) -> PointName:
    """Return a point out of `enterprise/site/area/line/machine/point`. Raises `BadRequest`."""
    parts = written.split("/", len(MachinePath._fields))
    if len(written) > MAX_TEXT or len(parts) != len(MachinePath._fields) + 1 or not all(parts):
        wrong = _("{text} is not a point; write enterprise/site/area/line/machine/point", text=_quoted(written))
        raise BadRequest(wrong)
    return PointName(MachinePath(*parts[:-1]), parts[-1])


def _quoted(written: str) -> str:
    return repr(written[:MAX_TEXT])


def points_of(written: Sequence[str]) -> tuple[PointName, ...]:
    """Return points without repetitions. Raises `BadRequest` for none, or too many."""
    points = tuple(dict.fromkeys(map(point_of, written)))
    if not points:
        raise BadRequest(_("no point is chosen; add point=enterprise/site/area/line/machine/point"))
    if len(points) > MAX_POINTS:
        raise BadRequest(_("{count} points are chosen, and {most} are the most", count=len(points), most=MAX_POINTS))
    return points


def moment(written: str, now: int, zone: tzinfo = UTC) -> int:
    """Return a time in microseconds since the epoch. Raises `BadRequest`.

    `written` is a number of microseconds, a time of ISO 8601 (without an offset it is of `zone`), a duration before
    now as in `-1h`, or `now`.
    """
    text = written.strip()
    if len(text) > MAX_TEXT:
        raise BadRequest(_("a time is too long"))
    found: int | None = None
    if text in {"", "now", "-0", "0s"}:
        found = now
    elif _NUMBER.fullmatch(text):
        found = int(text)
    elif text.startswith("-"):
        found = now - duration(text[1:])
    else:
        # the + of an offset is a space in a query that was not encoded
        found = _of_iso(text.replace(" ", "+") if re.search(r":\d\d(\.\d+)? \d\d", text) else text, zone)
    if found is None or found not in _TIMES:
        raise BadRequest(
            _("{text} is not a time; write 2026-11-24T06:00:00Z, -1h, now, or microseconds", text=repr(text))
        )
    return found


def duration(text: str) -> int:
    """Return the microseconds of a duration as `90s`, `15m`, `1h`, `7d`. Raises `BadRequest`."""
    try:
        seconds = parse_duration(text)
        return round(seconds * 1e6) if isinstance(seconds, float) else 0
    except (ValueError, OverflowError):
        raise BadRequest(_("{text} is not a duration; write 90s, 15m, 1h or 7d", text=repr(text))) from None


def _of_iso(text: str, zone: tzinfo) -> int | None:
    try:
        when = datetime.fromisoformat(text)
        aware = when if when.tzinfo is not None else when.replace(tzinfo=zone)
        return (aware - _EPOCH) // timedelta(microseconds=1)
    except (ValueError, OverflowError):
        return None


def span_of(query: Mapping[str, str], now: int, zone: tzinfo = UTC, longest: int = MAX_SPAN) -> tuple[int, int]:
    """Return `from` and `to` of a query. Raises `BadRequest` for a span that is empty, or longer than `longest`."""
    since = moment(query.get("from", _DEFAULT_FROM), now, zone)
    until = moment(query.get("to", "now"), now, zone)
    if until <= since:
        raise BadRequest(_("the span is empty: `to` is not after `from`"))
    if until - since > longest:
        days = longest / 86_400_000_000
        raise BadRequest(_("the span is longer than {days} days; choose a shorter span", days=days))
    return since, until


def width_of(query: Mapping[str, str]) -> int:
    """Return the pixels of a chart. Raises `BadRequest`."""
    return number_of(query, "width", _DEFAULT_WIDTH, MAX_WIDTH)


def number_of(query: Mapping[str, str], name: str, default: int, most: int) -> int:
    """Return a whole number from 1 to `most`. Raises `BadRequest`."""
    text = query.get(name, str(default))
    if not _NUMBER.fullmatch(text) or not 1 <= int(text) <= most:
        raise BadRequest(_("{name} is a whole number from 1 to {most}", name=name, most=most))
    return int(text)
