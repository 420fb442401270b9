"""Changes of alarms out of the stores, and the standing alarms from before the start of the page."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import structlog

from gateway.common.state_log import StateLog
from gateway.dashboard.live.alarms import read_alarm
from gateway.dashboard.stored import Source, backwards
from gateway.dashboard.trends.errors import NoStore
from gateway.settings.alarm_set import CONTENT
from gateway.settings.results import content_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.dashboard.live.alarms import Alarm
    from gateway.dashboard.plants import Plants
    from gateway.dashboard.stored import Stored
    from gateway.model.reading import Reading
    from gateway.stores.series import Series

log = structlog.get_logger(__name__)

STANDING_SPAN = 7 * 86_400 * 1_000_000
"""Microseconds before the start in which standing alarms are looked for."""

SECONDS = 20.0
"""Seconds that each store has for it."""

AGAIN = 30.0
"""Seconds until a store that can't be read is tried again."""

MAX_CHANGES = 20_000
"""Changes that are read at most."""


class StoredChanges(NamedTuple):
    """Changes of alarms from `since` on, in the order of their times; `complete` is false if more were asked for."""

    since: int
    complete: bool
    changes: list[Alarm]


def event_series(source: Source, below: tuple[str, ...] = ()) -> list[Series]:
    """Return the series of the points with events of devices and alarms of gateways. Raises `StoreError`."""
    names = {
        (machine.path, point.name)
        for machine in source.factory.machines
        if machine.path[: len(below)] == below
        for point in (*machine.points, *machine.results)
        if point.source.events and content_of(point) in {"", CONTENT}
    }
    return source.series(lambda one: (one.id.path, one.id.point) in names) if names else []


def stored_changes(source: Source, since: int, until: int, below: tuple[str, ...] = ()) -> StoredChanges:
    """Return the changes of alarms that a store has, the newest if there are too many. Raises `StoreError`."""
    series = event_series(source, below)
    if not series:
        return StoredChanges(since, complete=True, changes=[])
    found: list[Alarm] = []
    oldest = until
    for part in backwards(source.store.store, series, since, until, source.stop):
        found.extend(reversed(_alarms_of(part.readings)))
        oldest = part.since
        if len(found) > MAX_CHANGES:
            found = found[:MAX_CHANGES]
            oldest = found[-1].time
            break
    found.reverse()
    return StoredChanges(oldest, oldest <= since, found)


def _alarms_of(readings: Sequence[Reading]) -> list[Alarm]:
    """Return the alarms of readings of events; other readings are left out."""
    found = []
    for reading in readings:
        try:
            alarm = read_alarm(reading.path, reading.time, reading.value)
        except ValueError:
            continue
        if alarm is not None:
            found.append(alarm)
    return found


def _standing(source: Source, now: int) -> StoredChanges:
    return stored_changes(source, now - STANDING_SPAN, now)


class AlarmBackfill:
    """Reads the changes of alarms that the stores had before the page was started, once.

    An active alarm is sent once, so a page that was started later does not hear of it. `since` is the time from which
    on the standing alarms are known; None before that.
    """

    def __init__(self, plants: Plants, stored: Stored) -> None:
        self._plants = plants
        self._stored = stored
        self._state = StateLog(log, "dashboard.backfill_unstable")

    async def run(self) -> None:
        """Read the stores, again until that works or there is none to read."""
        while True:
            now = time.time_ns() // 1000
            try:
                found, problems = await self._stored.each(partial(_standing, now=now), SECONDS)
            except NoStore:
                self._plants.alarms_since = now
                return
            self._fill(found)
            if not problems:
                break
            self._state.enter("dashboard.store_unavailable", error=problems[0])
            await asyncio.sleep(AGAIN)
        if self._state.state:
            self._state.enter("dashboard.store_available", healthy=True)

    def _fill(self, found: Sequence[StoredChanges]) -> None:
        for plant in self._plants.plants:
            own = [one for part in found for one in part.changes if one.path in plant.machines]
            if own:
                plant.alarms.take_stored(sorted(own, key=lambda one: one.time))
                plant.version += 1
        if found:
            self._plants.alarms_since = max(part.since for part in found)
