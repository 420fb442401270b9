"""The readings of a trial, for tests: query those that are stored, and wait for enough of them."""

from __future__ import annotations

import sqlite3
import time
from collections import defaultdict
from contextlib import closing
from typing import TYPE_CHECKING

from drivers.base import Quality
from gateway.model.path import matches
from gateway.stores.sqlite import SqliteSettings, SqliteStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from gateway.model.path import MachinePath
    from gateway.model.reading import Reading
    from gateway.settings.factory import Factory

LOOK_AGAIN = 0.1
"""Seconds between two queries of the store."""

WITHIN = 30.0
"""The default time in seconds to wait for readings."""

TOLD = 20
"""Points that are listed in a message; further ones are counted."""


class Readings:
    """The stored readings, oldest first, by patterns such as `press-01/*` or `*/pressure`."""

    def __init__(self, factory: Factory, store: Path, check: Callable[[], None]) -> None:
        """Query a store; `check` raises if the services that fill it have ended."""
        self._factory = factory
        self._store = store
        self._check = check

    def __call__(self, pattern: str = "*") -> list[Reading]:
        """Return the stored readings of all points that match, oldest first. `AssertionError` where no point does."""
        __tracebackhide__ = True
        self._points(pattern)
        return self._stored(pattern)

    def wait(self, pattern: str = "*", good: int = 1, within: float = WITHIN) -> list[Reading]:
        """Wait until every point that matches has so many good readings, and return all that is stored of them.

        `within` is in seconds. Raises `AssertionError`, which says which points have not, and why. Points that are
        only sent when they change may need long for a second reading; events are not waited for. Of points that a
        search finds on the device at least one is waited for where the pattern fits no others.
        """
        __tracebackhide__ = True
        wanted = self._points(pattern)
        deadline = time.monotonic() + within
        while True:
            stored = self._stored(pattern)
            found = wanted or sorted({_name(reading) for reading in stored}) or [pattern]
            lacking = _lacking(found, stored, good)
            if not lacking:
                return stored
            self._check()
            if time.monotonic() > deadline:
                raise AssertionError(_told(lacking, good, within))
            time.sleep(LOOK_AGAIN)

    def _points(self, pattern: str) -> list[str]:
        """Return the paths of the points that match and have values at all times; none of what a search finds."""
        every = [(one.path, point) for one in self._factory.machines for point in one.points]
        found = [(path, point) for path, point in every if matches(pattern, path, point.name)]
        searches = ((one.path, search) for one in self._factory.machines for search in one.searches)
        if not found and not any(_may_find(search.name, path, pattern) for path, search in searches):
            some = ", ".join(f"{path.machine}/{point.name}" for path, point in every[:5])
            raise AssertionError(f"no point of {self._factory.file.name} matches {pattern!r}; it has {some} ...")
        return [f"{path}/{point.name}" for path, point in found if not point.source.events]

    def _stored(self, pattern: str) -> list[Reading]:
        if not is_made(self._store):
            return []
        with SqliteStore(SqliteSettings.model_validate({"path": str(self._store)})) as store:
            return list(store.query(pattern, 0, -1))[::-1]


def is_made(store: Path) -> bool:
    """Return whether a store has readings, without creating it."""
    if not store.exists():
        return False
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as db:
        try:
            return db.execute("select 1 from samples limit 1").fetchone() is not None
        except sqlite3.OperationalError:
            return False


def _name(reading: Reading) -> str:
    return f"{reading.path}/{reading.point}"


def _may_find(search: str, path: MachinePath, pattern: str) -> bool:
    """Return whether a pattern can fit a point of a search: `SEARCH_` and more, which only the device knows.

    It can where its beginning fits `SEARCH_` and its rest the name on the device, wherever they are parted; a `*` is
    on both sides.
    """
    return any(
        (rest or begins.endswith("*")) and "/" not in rest and matches(begins, path, f"{search}_")
        for begins, rest in ((pattern[:cut], pattern[cut:]) for cut in range(1, len(pattern) + 1))
    )


def _lacking(wanted: Iterable[str], stored: Iterable[Reading], good: int) -> dict[str, list[Reading]]:
    """Return the points that have too few good readings, with those that they have."""
    by_point: dict[str, list[Reading]] = defaultdict(list)
    for reading in stored:
        by_point[_name(reading)].append(reading)
    return {point: by_point[point] for point in wanted if _good(by_point[point]) < good}


def _good(readings: Iterable[Reading]) -> int:
    return sum(reading.quality is Quality.GOOD for reading in readings)


def _told(lacking: dict[str, list[Reading]], good: int, within: float) -> str:
    points = "1 point has" if len(lacking) == 1 else f"{len(lacking)} points have"
    what = "no good reading" if good == 1 else f"fewer than {good} good readings"
    lines = [f"{points} {what} within {within:g} s:"]
    lines += [f"  {_why(point, readings)}" for point, readings in list(lacking.items())[:TOLD]]
    if len(lacking) > TOLD:
        lines.append(f"  and {len(lacking) - TOLD} more")
    return "\n".join(lines)


def _why(point: str, readings: list[Reading]) -> str:
    short = "/".join(point.split("/")[-2:])
    if not readings:
        return f"{short}: nothing came"
    newest = readings[-1]
    if newest.quality is Quality.GOOD:
        return f"{short}: {_good(readings)} good, the newest {newest.value} {newest.unit}".rstrip()
    code = f" ({newest.code})" if newest.code else ""
    value = "" if newest.value is None else f", {newest.value} {newest.unit}".rstrip()
    return f"{short}: {_good(readings)} good, the newest is {newest.quality.value}: {newest.reason}{code}{value}"
