"""The report of a shift for the page, out of the store: that of `lineside oee`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.dashboard.texts.text import _
from gateway.dashboard.trends.errors import BadRequest
from gateway.model.text import clean_text
from gateway.production.stored import shift_report
from gateway.settings.calendar import calendar_of

if TYPE_CHECKING:
    from gateway.dashboard.stored import Source
    from gateway.settings.calendar import Calendar, Shift
    from gateway.settings.factory import Machine

CHOICE = 10
"""Shifts that a page may choose from."""

DAY = 24 * 3600 * 1_000_000

_NONE = {"current": _("there is no shift now"), "last": _("no shift has ended in the last 40 days")}
"""The texts for shifts without a name."""


def report_of(source: Source, below: tuple[str, ...], wanted: str, now: int) -> dict[str, Any] | None:
    """Return the report of a shift of the machines below a path; None without a machine that has a production.

    Raises `StoreError`, and `BadRequest` for a shift that does not exist.
    """
    factory = source.factory
    machines = machines_of(source, below)
    if not machines:
        return None
    calendar = calendar_of(factory.calendar)
    shift = shift_of(calendar, wanted, now)
    place = {"enterprise": factory.factory.enterprise, "site": factory.factory.site}
    found = shift_report(source.store.store, machines, calendar, shift, now, source.stop.check)
    return place | found.as_dict() | {"shifts": _choice(calendar, now)}


def machines_of(source: Source, below: tuple[str, ...]) -> list[Machine]:
    """Return the machines below a path that have a production, and are looked up in this store."""
    return [
        one for one in source.factory.machines
        if one.production is not None and one.path[: len(below)] == below and source.owns(one.path)
    ]  # fmt: skip


def shift_of(calendar: Calendar, wanted: str, now: int) -> Shift:
    """Return a shift by its name. Raises `BadRequest` for one that does not exist."""
    try:
        return calendar.find(wanted, now)
    except ValueError:
        raise BadRequest(_NONE.get(wanted) or _("there is no shift {shift}", shift=clean_text(wanted, 100))) from None


def _choice(calendar: Calendar, now: int) -> list[str]:
    """Return the shifts that a page may choose from, the newest first."""
    found = calendar.shifts(now - 14 * DAY, now + 1)
    return [str(one) for one in reversed(found[-CHOICE:])]
