"""The report of a shift for the page, out of the store: that of `lineside oee`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.dashboard.texts.text import _
from gateway.dashboard.trends.errors import BadRequest
from gateway.model.text import clean_text
from gateway.production.report import report
from gateway.production.stored import known_until, shift_rows
from gateway.settings.calendar import calendar_of

if TYPE_CHECKING:
    from gateway.dashboard.stored import Source
    from gateway.settings.calendar import Calendar

CHOICE = 10
"""Shifts that a page may choose from."""

DAY = 24 * 3600 * 1_000_000


def shift_report(source: Source, below: tuple[str, ...], wanted: str, now: int) -> dict[str, Any] | None:
    """Return the report of a shift of the machines below a path; None without a machine that has a production.

    Raises `StoreError`, and `BadRequest` for a shift that does not exist.
    """
    factory = source.factory
    machines = [
        one for one in factory.machines
        if one.production is not None and one.path[: len(below)] == below and source.owns(one.path)
    ]  # fmt: skip
    if not machines:
        return None
    calendar = calendar_of(factory.calendar)
    try:
        shift = calendar.find(wanted, now)
    except ValueError:
        raise BadRequest(_("there is no shift {shift}", shift=clean_text(wanted, 100))) from None
    rows = shift_rows(source.store.store, machines, shift, source.stop.check)
    until = shift.end if shift.end <= now else known_until(rows, shift)
    place = {"enterprise": factory.factory.enterprise, "site": factory.factory.site}
    found = report(rows, shift, calendar.planned(shift), until).as_dict()
    return place | found | {"shifts": _choice(calendar, now)}


def _choice(calendar: Calendar, now: int) -> list[str]:
    """Return the shifts that a page may choose from, the newest first."""
    found = calendar.shifts(now - 14 * DAY, now + 1)
    return [str(one) for one in reversed(found[-CHOICE:])]
