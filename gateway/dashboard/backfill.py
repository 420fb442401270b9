"""Fill the page at its start out of the stores: a reading that does not change may not be sent for hours.

The newest reading of each point, and the states of production of the last hours, are read once for each machine: in a
thread, and only until the broker has delivered newer readings.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import structlog

from gateway.common.state_log import StateLog
from gateway.dashboard.live.machine import Transition
from gateway.dashboard.live.roles import state_name
from gateway.stores.base import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.dashboard.plants import Plants
    from gateway.model.path import MachinePath
    from gateway.model.reading import Reading
    from gateway.settings.factory import Factory
    from gateway.stores.base import Store
    from gateway.stores.series import Series

log = structlog.get_logger(__name__)

HISTORY = 8 * 3600 * 1_000_000
"""Microseconds of the states of production that are read: a shift."""

AGAIN = 30.0
"""Seconds until a store that can't be read is tried again."""

MAX_STATES = 200_000
"""Readings of states that are read at most."""


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
                    newest, states = await asyncio.to_thread(self._read, factory)
                except StoreError as error:
                    failed.append(factory)
                    self._state.enter("dashboard.store_unavailable", file=str(factory.file), error=str(error))
                else:
                    self._fill(newest, states)
            pending = failed
            if pending:
                await asyncio.sleep(AGAIN)
        if self._state.state:
            self._state.enter("dashboard.store_available", healthy=True)

    def _read(self, factory: Factory) -> tuple[list[Reading], list[Reading]]:
        """Return the newest reading of each point, and the readings of state points. Raises `StoreError`."""
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

    def _read_from(self, store: Store, factory: Factory) -> tuple[list[Reading], list[Reading]]:
        site = factory.factory.enterprise, factory.factory.site
        series = [one for one in store.series() if one.id.path[:2] == site]
        now = time.time_ns() // 1000
        states = store.range(self._state_series(series), now - HISTORY, now + 1)
        return store.newest(series), [reading for _, reading in zip(range(MAX_STATES), states, strict=False)]

    def _state_series(self, series: Iterable[Series]) -> Sequence[Series]:
        """Return the series of the points that name a state of production."""
        found = []
        for one in series:
            known = self._plants.find(one.id.path)
            if known is not None and (at := known[1].roles.state) is not None:
                found += [one] if known[1].points[at].name == one.id.point else []
        return found

    def _fill(self, newest: Iterable[Reading], states: Iterable[Reading]) -> None:
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
        for plant in self._plants.plants:
            plant.version += 1
