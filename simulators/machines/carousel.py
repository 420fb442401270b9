"""Several places of one model that appear as one machine: a carousel, a row of test stations.

Each place is a machine of its model, with its own part, physics and verdict. The machine shows the sensors of one
instrumented place, the records of the place that finished last, and the sums of all counters.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

from drivers.packml import State
from simulators.machines.machine import STOP_ALARM
from simulators.machines.packml import next_state

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drivers.base import Value
    from simulators.machines.machine import Machine
    from simulators.machines.parts import Buffer, Orders, Part

OTHER_PLACES_STEP = 10.0
"""Seconds between two steps of the places without instruments."""

ALL_ALARMS = 0xFFFF


class Carousel:
    """One machine of a model per place. Its public members are those of `Machine`."""

    def __init__(self, model: type[Machine], name: str, seed: str) -> None:
        self.name = name
        self.model = model
        self.clock = 0.0
        self._places = [model(name, f"{seed}/{place}") for place in range(model.places)]
        self._instrumented = self._last = self._places[0]
        numbers: Iterator[int] = count(1)
        for place in self._places:
            place.numbers = numbers
        self._unstepped = 0.0
        self._cycles_seen = 0
        self.faults: set[str] = set()
        self._state = State.EXECUTE
        self.signals: dict[str, Value] = dict(self._instrumented.signals)

    def connect(self, inlet: Buffer | None, outlet: Buffer | None, orders: Orders) -> None:
        """Connect every place to the same buffers and orders."""
        for place in self._places:
            place.connect(inlet, outlet, orders)

    @property
    def machines(self) -> list[Machine]:
        """The places."""
        return self._places

    def start_part(self) -> Part:
        """Start a part for the current order."""
        return self._instrumented.start_part()

    def warm_up(self) -> None:
        """Spread the places over the cycle."""
        for place in self._places:
            place.warm_up()
        self._write_signals()

    def step(self, dt: float) -> None:
        """Advance all places by `dt` simulated seconds."""
        self.clock += dt
        self._instrumented.faults = self.faults
        self._instrumented.step(dt)
        self._unstepped += dt
        if self._unstepped >= OTHER_PLACES_STEP:
            for place in self._places[1:]:
                before = place.cycles
                place.step(self._unstepped)
                if place.cycles != before:
                    self._last = place
            self._unstepped = 0.0
        if self._instrumented.signals["cycle_count"] != self._cycles_seen:
            self._last = self._instrumented
        self._write_signals()

    def read(self) -> dict[str, Value]:
        """Return the present values, by point."""
        return self.signals

    def _write_signals(self) -> None:
        self._cycles_seen = self._instrumented.cycles
        signals = self.signals
        signals.update(self._instrumented.signals)
        signals["cycle_count"] = sum(place.cycles for place in self._places)
        signals["good_count"] = sum(place.good for place in self._places)
        signals["reject_count"] = sum(place.rejects for place in self._places)
        signals["energy"] = round(sum(place.energy for place in self._places), 3)
        signals["heartbeat"] = int(self.clock) % 65536
        working = any(place.working for place in self._places)
        # places change state independently; the carousel passes through the states in between
        self._state = next_state(self._state, State.EXECUTE if working else self._instrumented.state)
        signals["state"] = int(self._state)
        alarms = 0
        for place in self._places:
            # one of 20 stations is always stopped: only the stop of the instrumented place counts
            alarms |= int(place.signals["alarm_word"]) & (ALL_ALARMS if place is self._instrumented else ~STOP_ALARM)
        signals["alarm_word"] = alarms
        for record in (*self.model.records, "cycle_time_last"):
            signals[record] = self._last.signals[record]
        total = sum(place.cycles * float(place.signals["cycle_time_average"]) for place in self._places)
        signals["cycle_time_average"] = round(total / max(1, int(signals["cycle_count"])), 2)
