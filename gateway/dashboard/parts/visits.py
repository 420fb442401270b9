"""Where and when a serial number was seen, out of readings that are looked at backwards through the time. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.model.path import MachinePath
    from gateway.model.reading import Reading

MAX_VISITS = 500
"""Visits that are kept."""

MAX_SUGGESTIONS = 20
"""Serial numbers that are suggested."""


class Visit(NamedTuple):
    """A point of a machine named the part from `begin` to `end`, in microseconds since the epoch.

    `end` is None while it still does. `lost` says that the point was bad at `end`: the part may have stayed longer.
    """

    path: MachinePath
    point: str
    begin: int
    end: int | None
    lost: bool = False


class Suggestion(NamedTuple):
    """A serial number that contains the typed text, and the place where it was seen last."""

    serial: str
    path: MachinePath
    time: int


class Search:
    """Collects the visits of a serial number, and similar serial numbers, from the newest reading to the oldest."""

    def __init__(self, serial: str) -> None:
        self._serial = serial
        self._part = serial.casefold()
        self._visits: list[Visit] = []
        self._open: dict[tuple[MachinePath, str], Visit] = {}
        self._after: dict[tuple[MachinePath, str], tuple[int, bool]] = {}
        self._similar: dict[str, Suggestion] = {}

    @property
    def full(self) -> bool:
        """Whether no more visits can be kept."""
        return len(self._visits) >= MAX_VISITS

    def add(self, readings: Iterable[Reading]) -> None:
        """Add earlier readings, the newest first."""
        for one in readings:
            place = one.path, one.point
            if one.value == self._serial:
                self._extend(place, one.time)
            else:
                if (visit := self._open.pop(place, None)) is not None:
                    self._visits.append(visit)
                if isinstance(one.value, str):
                    self._suggest(one.value, one)
            self._after[place] = one.time, one.value is None

    def _extend(self, place: tuple[MachinePath, str], time: int) -> None:
        visit = self._open.get(place)
        if visit is None:
            end, lost = self._after.get(place, (None, False))
            self._open[place] = Visit(*place, time, end, lost)
        else:
            self._open[place] = visit._replace(begin=time)

    def _suggest(self, serial: str, reading: Reading) -> None:
        if len(self._similar) < MAX_SUGGESTIONS and serial not in self._similar and self._part in serial.casefold():
            self._similar[serial] = Suggestion(serial, reading.path, reading.time)

    def visits(self) -> list[Visit]:
        """Return all visits so far, in the order of their begins."""
        return sorted([*self._visits, *self._open.values()], key=lambda one: (one.begin, one.path, one.point))

    def suggestions(self) -> list[Suggestion]:
        """Return serial numbers that contain the wanted serial number, those seen last first."""
        return list(self._similar.values())


def carries_results(point: str) -> bool:
    """Return whether a point names the part that results belong to, as `result_serial_number_left` does."""
    return bool(prefix_of(point))


def prefix_of(point: str) -> str:
    """Return the name before the words serial number or barcode: `result` of `result_serial_number`."""
    name = point.lower()
    for word in ("serial_number", "barcode"):
        if word in name:
            return name[: name.index(word)].rstrip("_")
    return ""


def result_points(point: str, others: Iterable[str]) -> list[str]:
    """Return the names of the points whose values belong to the part that a point names.

    They begin with the same word: `result_left` and `result_force_left` belong to `result_serial_number_left`, and
    `record_charge` to `record_serial_number`.
    """
    prefix, name = prefix_of(point), point.lower()
    if not prefix:
        return []
    side = name.rpartition("_")[2] if name.endswith(("_left", "_right")) else ""
    found = []
    for other in others:
        own = other.lower()
        if own == name or prefix_of(own) or not (own == prefix or own.startswith(f"{prefix}_")):
            continue
        if side and own.endswith(("_left", "_right")) and not own.endswith(f"_{side}"):
            continue
        found.append(other)
    return found
