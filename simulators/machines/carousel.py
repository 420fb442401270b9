"""Many places of one kind that show themselves as one machine: a carousel, a row of test stations.

Each place is a machine of its model, with its own part, physics and judgement. What is shown are the sensors of one
place (it has the gauge), the records of the place that was finished last, and the counters of all.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

from simulators.machines.machine import STOPPED
from simulators.machines.packml import State

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drivers.base import Value
    from simulators.machines.machine import Machine
    from simulators.machines.parts import Buffer, Orders, Part

COARSE = 10.0
"""Seconds between two steps of the places that are not shown."""

ALL = 0xFFFF


class Carousel:
    """As many machines of a model as it has places. See `Machine` for what is public."""

    def __init__(self, model: type[Machine], name: str, seed: str) -> None:
        self.name = name
        self.model = model
        self.clock = 0.0
        self._places = [model(name, f"{seed}/{place}") for place in range(model.places)]
        self._shown = self._last = self._places[0]
        numbers: Iterator[int] = count(1)
        for place in self._places:
            place.numbers = numbers
        self._owed = 0.0
        self.faults: set[str] = set()
        self.signals: dict[str, Value] = dict(self._shown.signals)

    def connect(self, inlet: Buffer | None, outlet: Buffer | None, orders: Orders) -> None:
        """Give every place the same buffers and orders."""
        for place in self._places:
            place.connect(inlet, outlet, orders)

    @property
    def machines(self) -> list[Machine]:
        """The places."""
        return self._places

    def start_part(self) -> Part:
        """Start a part from nothing."""
        return self._shown.start_part()

    def warm_up(self) -> None:
        """Spread the places over the cycle."""
        for place in self._places:
            place.warm_up()
        self._gather()

    def step(self, dt: float) -> None:
        """Move all places on by `dt` simulated seconds."""
        self.clock += dt
        self._shown.faults = self.faults
        self._shown.step(dt)
        self._owed += dt
        if self._owed >= COARSE:
            for place in self._places[1:]:
                before = place.cycles
                place.step(self._owed)
                if place.cycles != before:
                    self._last = place
            self._owed = 0.0
        if self._shown.signals["cycle_count"] != self._seen:
            self._last = self._shown
        self._gather()

    _seen: Value = 0

    def look(self) -> dict[str, Value]:
        """Return what the carousel shows now."""
        return self.signals

    def _gather(self) -> None:
        self._seen = self._shown.cycles
        signals = self.signals
        signals.update(self._shown.signals)
        signals["cycle_count"] = sum(place.cycles for place in self._places)
        signals["good_count"] = sum(place.good for place in self._places)
        signals["reject_count"] = sum(place.rejects for place in self._places)
        signals["energy"] = round(sum(place.energy for place in self._places), 3)
        signals["heartbeat"] = int(self.clock) % 65536
        working = any(place.working for place in self._places)
        signals["state"] = int(State.EXECUTE if working else self._shown.state)
        alarms = 0
        for place in self._places:
            # of 20 stations one is always out of order: only that of the one that is shown is the machine's
            alarms |= int(place.signals["alarm_word"]) & (ALL if place is self._shown else ~STOPPED)
        signals["alarm_word"] = alarms
        for record in (*self.model.records, "cycle_time_last"):
            signals[record] = self._last.signals[record]
        total = sum(place.cycles * float(place.signals["cycle_time_average"]) for place in self._places)
        signals["cycle_time_average"] = round(total / max(1, int(signals["cycle_count"])), 2)
