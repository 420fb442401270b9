"""The rows of a shift out of a store: production by the hour, stops, and the reasons that operators gave."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import orjson

from gateway.model.production import LARGEST, SECOND, Tally, TimeState
from gateway.production.report import HourRow, MachineRows, StopRow, report
from gateway.settings.production import PRODUCTION, STOP_REASONS, STOPS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from gateway.model.path import MachinePath
    from gateway.production.report import Report
    from gateway.settings.calendar import Calendar, Shift
    from gateway.settings.factory import Machine
    from gateway.stores.base import Store

_LATEST = 32_503_680_000 * SECOND
"""The year 3000: anybody who may publish can write a row, and a calendar has no later times than the year 9999."""

LONGEST_DELAY = 8 * 24 * 3600 * SECOND
"""Microseconds after a shift in which its rows are looked for: a gateway may have been off, or without a broker."""


def shift_rows(
    store: Store, machines: Iterable[Machine], shift: Shift, check: Callable[[], None] = lambda: None
) -> list[MachineRows]:  # fmt: skip
    """Return the rows of machines in a shift, in the order of the machines. Raises `StoreError`.

    `check` is called between rows, and may raise to end the search.
    """
    found = {one.path: MachineRows(one.path, one.template) for one in machines if one.production is not None}
    if not found:
        return []
    since, until = shift.begin, shift.end + LONGEST_DELAY
    for row in store.rows(PRODUCTION, f"*/{PRODUCTION}", since, until):
        check()
        if row.path not in found:
            continue
        cells: dict[str, Any] = row.as_dict()
        if cells["kind"] == "hour" and cells["shift"] == str(shift):
            found[row.path].hours.append(_hour(cells))
    for path, stop in _stops(store, found, (since, until), check):
        if stop.begin < shift.end and stop.end > shift.begin:
            found[path].stops.append(stop)
    return list(found.values())


def stops_of_shift(
    store: Store, machines: Iterable[Machine], shift: Shift, check: Callable[[], None] = lambda: None
) -> list[tuple[Machine, StopRow]]:  # fmt: skip
    """Return the stops of machines in a shift, in the order of their begins. Raises `StoreError`."""
    own = {one.path: one for one in machines if one.production is not None}
    found = [
        (own[path], stop)
        for path, stop in _stops(store, own, (shift.begin, shift.end + LONGEST_DELAY), check)
        if stop.begin < shift.end and stop.end > shift.begin
    ]
    found.sort(key=lambda one: (one[1].begin, one[0].path))
    return found


def stops_that_began(store: Store, machine: Machine, since: int, until: int) -> list[StopRow]:
    """Return the stops of a machine that began in a span, in the order of their ends. Raises `StoreError`."""
    found = _stops(store, (machine.path,), (since, since + LONGEST_DELAY), lambda: None)
    return [one for _, one in found if since <= one.begin < until]


def _stops(
    store: Store, machines: Collection[MachinePath], span: tuple[int, int], check: Callable[[], None]
) -> Iterator[tuple[MachinePath, StopRow]]:
    """Yield the stops of machines whose rows are of a span, with the reasons that people gave."""
    given = _given(store, machines, *span)
    for row in store.rows(STOPS, f"*/{STOPS}", *span):
        check()
        stop = _stop(row.as_dict(), row.path, given) if row.path in machines else None
        if stop is not None:
            yield row.path, stop


def _hour(cells: dict[str, Any]) -> HourRow:
    for name in ("reasons", "cycles"):
        with suppress(orjson.JSONDecodeError, TypeError):
            cells[name] = orjson.loads(cells[name])
    order, recipe = cells["order"] or "", cells["recipe"] or ""
    return HourRow(_time(cells["begin"]), _time(cells["end"]), order, recipe, Tally.of_row(cells))


def _stop(
    cells: Mapping[str, Any], path: MachinePath, given: Mapping[tuple[MachinePath, int], str]
) -> StopRow | None:  # fmt: skip
    try:
        state = TimeState(cells["state"])
    except ValueError:  # of a later release
        return None
    begin, planned = _time(cells["begin"]), cells["planned_time"]
    return StopRow(
        begin, _time(cells["end"]), state, cells["reason"] or "", cells["label"] or "",
        round(planned * SECOND) if isinstance(planned, int | float) and abs(planned) <= LARGEST else 0,
        given.get((path, begin), ""),
    )  # fmt: skip


def _given(
    store: Store, machines: Collection[MachinePath], since: int, until: int
) -> dict[tuple[MachinePath, int], str]:  # fmt: skip
    """Return the reasons that operators gave, by machine and begin of the stop; the last one counts."""
    found: dict[tuple[MachinePath, int], str] = {}
    for row in store.rows(STOP_REASONS, f"*/{STOP_REASONS}", since, until):
        cells = row.as_dict()
        if row.path in machines and isinstance(cells["begin"], int):
            found[row.path, cells["begin"]] = str(cells["reason"] or "")
    return found


def _time(value: object) -> int:
    return value if isinstance(value, int) and 0 <= value < _LATEST else 0


def _known_until(rows: Iterable[MachineRows], shift: Shift, calendar: Calendar) -> int:
    """Return the begin of the hour after the newest whole hour: the rows of an hour come when it is over."""
    newest = max((hour.end for one in rows for hour in one.hours), default=shift.begin)
    return max(shift.begin, calendar.hour_at(newest)[0])


def shift_report(
    store: Store,
    machines: Sequence[Machine],
    calendar: Calendar,
    shift: Shift,
    now: int,
    check: Callable[[], None] = lambda: None,
) -> Report:
    """Return the report of a shift out of a store; of a shift that runs, of its whole hours. Raises `StoreError`."""
    rows = shift_rows(store, machines, shift, check)
    until = shift.end if shift.end <= now else _known_until(rows, shift, calendar)
    return report(rows, shift, calendar.planned(shift), until)
