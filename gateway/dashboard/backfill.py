"""Fill the page at its start out of the stores: a reading that does not change may not be sent for hours.

The newest reading of each point, and the states of production and the counters of parts of the last hours, are read
once for each machine: in a thread, and only until the broker has delivered newer readings.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import structlog

from gateway.common.state_log import StateLog
from gateway.dashboard.live.counts import MinuteCounts
from gateway.dashboard.live.journal import JournalEvent
from gateway.dashboard.live.machine import COUNTERS, Transition
from gateway.dashboard.live.roles import level_of, state_name
from gateway.stores.base import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from gateway.dashboard.plants import Plants
    from gateway.model.path import MachinePath
    from gateway.model.reading import Reading
    from gateway.settings.factory import Factory
    from gateway.stores.base import Store
    from gateway.stores.series import Series

log = structlog.get_logger(__name__)

HISTORY = 8 * 3600 * 1_000_000
"""Microseconds of the states and counters that are read: a shift."""

AGAIN = 30.0
"""Seconds until a store that can't be read is tried again."""

MAX_STATES = MAX_COUNTS = 200_000
"""Readings of states, and of counters, that are read at most."""


class _History(NamedTuple):
    """The newest reading of each point, and the readings of state points and of counters."""

    newest: list[Reading]
    states: list[Reading]
    counts: list[Reading]


class Backfill:
    """Reads the stores of the factories once. `states` are the times of the oldest state that was read."""

    def __init__(self, plants: Plants) -> None:
        self._plants = plants
        self._state = StateLog(log, "dashboard.backfill_unstable")

    async def run(self) -> None:
        """Read each factory's store, again until that works or there is none to read."""
        pending = [factory for factory in self._plants.factories if factory.stores]
        while pending:
            failed = []
            for factory in pending:
                try:
                    history = await asyncio.to_thread(self._read, factory)
                except StoreError as error:
                    failed.append(factory)
                    self._state.enter("dashboard.store_unavailable", file=str(factory.file), error=str(error))
                else:
                    self.fill(*history)
            pending = failed
            if pending:
                await asyncio.sleep(AGAIN)
        if self._state.state:
            self._state.enter("dashboard.store_available", healthy=True)

    def _read(self, factory: Factory) -> _History:
        """Return the history out of a factory's store. Raises `StoreError`."""
        error: StoreError | None = None
        for entry in factory.stores:
            store = entry.kind.make(entry.settings)
            try:
                store.open_for_query({machine.template for machine in factory.machines})
            except StoreError as failed:
                error = failed
                continue
            try:
                return self._read_from(store, factory)
            finally:
                store.close()
        raise error or StoreError("the factory has no store that can be read")

    def _read_from(self, store: Store, factory: Factory) -> _History:
        site = factory.factory.enterprise, factory.factory.site
        series = [one for one in store.series() if one.id.path[:2] == site]
        now = time.time_ns() // 1000
        states = store.range(self._series_of(series, ("state",)), now - HISTORY, now + 1)
        counts = store.range(self._series_of(series, COUNTERS), now - HISTORY, now + 1)
        read = list(itertools.islice(states, MAX_STATES)), list(itertools.islice(counts, MAX_COUNTS))
        return _History(store.newest(series), *read)

    def _series_of(self, series: Iterable[Series], roles: Sequence[str]) -> Sequence[Series]:
        """Return the series of the points that have one of some roles."""
        return [one for one in series if self._role_of(one.id.path, one.id.point) in roles]

    def _role_of(self, path: MachinePath, point: str) -> str:
        known = self._plants.find(path)
        at = None if known is None else known[1].index.get(point)
        if known is None or at is None:
            return ""
        return next((role for role, own in known[1].roles._asdict().items() if own == at), "")

    def _fill_counts(self, counts: Iterable[Reading]) -> None:
        """Count what counters have counted before they were heard of."""
        history: dict[tuple[MachinePath, str], list[tuple[int, float]]] = {}
        for reading in counts:
            if isinstance(reading.value, int | float):
                role = self._role_of(reading.path, reading.point)
                history.setdefault((reading.path, role), []).append((reading.time, reading.value))
        for (path, role), readings in history.items():
            if (found := self._plants.find(path)) is not None and role in COUNTERS:
                found[1].counts.setdefault(role, MinuteCounts()).take_history(sorted(readings))

    def fill(self, newest: Iterable[Reading], states: Iterable[Reading], counts: Iterable[Reading] = ()) -> None:
        """Give the machines the newest readings, the states of production and the counters of a store."""
        self._fill_counts(counts)
        for reading in newest:
            if (found := self._plants.find(reading.path)) is not None:
                found[1].take_stored(reading)
        by_machine: dict[MachinePath, list[Transition]] = {}
        for reading in states:
            if (found := self._plants.find(reading.path)) is not None and found[1].roles.state is not None:
                point = found[1].points[found[1].roles.state]
                state = "unknown" if reading.value is None else state_name(point, reading.value)
                by_machine.setdefault(reading.path, []).append(Transition(reading.time, state))
        for path, transitions in by_machine.items():
            if (found := self._plants.find(path)) is not None:
                found[1].take_history(transitions)
                self._plants.journal.add_earlier(self._changes(path, found[1].production))
        for plant in self._plants.plants:
            plant.version += 1

    def _changes(self, path: MachinePath, production: Iterable[Transition]) -> Iterator[JournalEvent]:
        """Yield the changes of production before the journal began; the first state is known, and not its begin."""
        for before, now in pairwise(production):
            if now.time < self._plants.journal.began:
                level, was = level_of(now.state), {"was": before.state}
                yield JournalEvent(0, now.time, "production", str(path), now.state, level, was)
