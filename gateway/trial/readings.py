"""The stored readings of a trial, for tests, and waiting for enough of them."""

from __future__ import annotations

import sqlite3
import time
from collections import defaultdict
from contextlib import closing
from typing import TYPE_CHECKING

from drivers.base import Quality
from gateway.model.path import matches
from gateway.settings.production import KeyFigure
from gateway.stores.base import END_OF_TIME, FIRST_TIME
from gateway.stores.part_history import CONTENT
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
"""Seconds in which readings have to arrive, by default."""

LISTED = 20
"""Points that are listed; further points are counted."""


class Readings:
    """The readings that were stored so far, oldest first, by patterns such as `press-01/*` or `*/pressure`."""

    def __init__(self, factory: Factory, store: Path, check: Callable[[], None]) -> None:
        """Read from a store; `check` raises if the services that fill it have ended."""
        self._factory = factory
        self._store = store
        self._check = check

    def __call__(self, pattern: str = "*") -> list[Reading]:
        """Return the stored readings of matching points, oldest first. Raises `AssertionError` without a match."""
        __tracebackhide__ = True
        self._points(pattern)
        return self._stored(pattern)

    def wait(self, pattern: str = "*", good: int = 1, within: float = WITHIN) -> list[Reading]:
        """Wait until every matching point has `good` good readings, and return all its stored readings.

        `within` is in seconds. Raises `AssertionError` with the missing points and the reason. Points that are sent
        only on change may need long for a second reading. Events are not waited for. If the pattern matches only
        points of a discovery, at least one of them is waited for.
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
                raise AssertionError(_message(lacking, good, within))
            time.sleep(LOOK_AGAIN)

    def _points(self, pattern: str) -> list[str]:
        """Return the paths of the matching points that always have values, without points of a discovery."""
        every = [(one.path, point) for one in self._factory.machines for point in one.all_points]
        found = [(path, point) for path, point in every if matches(pattern, path, point.name)]
        searches = ((one.path, search) for one in self._factory.machines for search in one.searches)
        if not found and not any(_may_find(search.name, path, pattern) for path, search in searches):
            some = ", ".join(f"{path.machine}/{point.name}" for path, point in every[:5])
            raise AssertionError(f"no point of {self._factory.file.name} matches {pattern!r}; it has {some} ...")
        return [
            f"{path}/{point.name}"
            for path, point in found
            if not (point.source.events or isinstance(point.source, KeyFigure))  # these come when there is something
        ]

    def _stored(self, pattern: str) -> list[Reading]:
        if not is_made(self._store):
            return []
        with SqliteStore(SqliteSettings.model_validate({"path": str(self._store)})) as store:
            return list(store.range(store.series(pattern), FIRST_TIME, END_OF_TIME))


def is_made(store: Path) -> bool:
    """Return whether a store has readings. Opening it earlier would create it a second time."""
    if not store.exists():
        return False
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as db:
        try:
            return db.execute("select 1 from samples limit 1").fetchone() is not None
        except sqlite3.OperationalError:
            return False


def count_stored(store: Path) -> int:
    """Return the number of readings in a store, 0 if there is none yet."""
    if not is_made(store):
        return 0
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as db:
        [count] = db.execute("select count(*) from samples").fetchone()
    return int(count)


def count_parts(store: Path) -> dict[str, int]:
    """Return how many records of parts a store has (`made`), how many `serials`, and how many records are `traced`.

    Traced are those that are found by their serial number, as `lineside trace` finds them.
    """
    if not is_made(store):
        return {"made": 0, "serials": 0, "traced": 0}
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as db:
        [made] = db.execute("select count(*) from parts").fetchone()
        serials = [serial for (serial,) in db.execute("select distinct serial from parts where serial != ''")]
    with SqliteStore(SqliteSettings.model_validate({"path": str(store)})) as opened:
        traced = sum(1 for _ in opened.lookup(CONTENT, "serial", serials))
    return {"made": made, "serials": len(serials), "traced": traced}


def _name(reading: Reading) -> str:
    return f"{reading.path}/{reading.point}"


def _may_find(search: str, path: MachinePath, pattern: str) -> bool:
    """Return whether a pattern can match a point of a discovery: `SEARCH_` and a name that only the device knows.

    It can if its beginning matches `SEARCH_`, for any division into a beginning and a rest. A `*` belongs to both.
    """
    return any(
        (rest or begins.endswith("*")) and "/" not in rest and matches(begins, path, f"{search}_")
        for begins, rest in ((pattern[:cut], pattern[cut:]) for cut in range(1, len(pattern) + 1))
    )


def _lacking(wanted: Iterable[str], stored: Iterable[Reading], good: int) -> dict[str, list[Reading]]:
    """Return the points with too few good readings, with all their readings."""
    by_point: dict[str, list[Reading]] = defaultdict(list)
    for reading in stored:
        by_point[_name(reading)].append(reading)
    return {point: by_point[point] for point in wanted if _good(by_point[point]) < good}


def _good(readings: Iterable[Reading]) -> int:
    return sum(reading.quality is Quality.GOOD for reading in readings)


def _message(lacking: dict[str, list[Reading]], good: int, within: float) -> str:
    points = "1 point has" if len(lacking) == 1 else f"{len(lacking)} points have"
    lack = "no good reading" if good == 1 else f"fewer than {good} good readings"
    lines = [f"{points} {lack} within {within:g} s:"]
    lines += [f"  {_why(point, readings)}" for point, readings in list(lacking.items())[:LISTED]]
    if len(lacking) > LISTED:
        lines.append(f"  and {len(lacking) - LISTED} more")
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
