"""A bead winder: coated steel wire is wound into the ring that holds a tyre on its rim, every 15 seconds.

Turns, tension and times are engineering estimates for a passenger tyre: one wire of 0.96 mm, 24 turns.
"""

from __future__ import annotations

import math
from typing import ClassVar

from simulators.machines.machine import Machine
from simulators.machines.physics import Lag, MeanRevertingNoise

LOAD, WIND, CUT, EJECT = range(1, 5)
ENDS = (2.0, 11.0, 12.5)
"""End of each phase but the last, seconds into the cycle."""

TURNS, SPEED = 24, 190.0  # turns of a bead, r/min
COASTING = 0.95  # turns that the former still makes after the stop command
TENSION, SLACK = 80.0, 12.0  # N while winding, and while the wire waits
AROUND = math.pi * 465.0  # mm of wire per turn
WEIGHT, TOLERANCE = 232.0, 0.015  # g of a bead, and its tolerance as a fraction
SPOOL, LOW = 480.0, 20.0  # kg of wire on a full spool, and when to bring the next one
COUNTS = 4096
"""Encoder counts per turn."""


class BeadWinder(Machine):
    """One former, one spool of wire, a scale behind it."""

    cycle: ClassVar[float] = 15.0
    spread: ClassVar[float] = 0.01
    scrap: ClassVar[float] = 0.005
    power_idle: ClassVar[float] = 3.5
    power_run: ClassVar[float] = 8.0
    serial: ClassVar[str] = "BD"
    makes: ClassVar[str] = "bead"
    recipes: ClassVar[tuple[str, ...]] = ("BD-R15", "BD-R16")

    def __init__(self, name: str, seed: str) -> None:
        super().__init__(name, seed)
        self._speed = Lag(0.0, 0.5, self.rng, 0.4, still=0.5)
        self._tension = Lag(SLACK, 0.4, self.rng, 1.0)
        self._brake = MeanRevertingNoise(TENSION, 1.5, 60.0, self.rng)
        self._coating = Lag(92.0, 120.0, self.rng, 0.2)
        self._pressure = Lag(60.0, 6.0, self.rng, 0.6)
        self._turned = 0.0
        self._weight = self._weighed = WEIGHT
        self._spool = self.rng.uniform(0.2, 0.9) * SPOOL
        self._lot = self.rng.randrange(100_000, 900_000)
        self.run(0.0)

    def begin(self) -> None:
        self._turned = 0.0
        self._weight = WEIGHT * self.rng.gauss(1.0, 0.004)

    def run(self, dt: float) -> None:
        """Wind, cut and eject; use up wire."""
        phase = self.phase(ENDS)
        winding = phase == WIND and self._turned < TURNS - COASTING
        self._speed.follow(SPEED if winding else 0.0, dt, 0.5 if winding else 0.3)
        turned = self._turned
        if phase == WIND:
            self._turned = min(float(TURNS), turned + self._speed.value * dt / 60)
        elif phase > WIND:
            self._turned = float(TURNS)
        self._use((self._turned - turned) / TURNS * WEIGHT / 1000)
        brake = self._brake.step(dt)
        self._tension.follow(brake if winding else SLACK, dt)
        # moving wire cools the head of the coating extruder a little, and draws rubber out of it
        self._coating.follow(91.0 if winding else 92.5, dt)
        self._pressure.follow(64.0 if winding else 58.0, dt)
        if phase == EJECT:
            self._weighed = self._weight
        self._sense(phase)

    def _use(self, kilograms: float) -> None:
        """Take wire off the spool; a full spool of a new lot replaces an empty spool."""
        self._spool -= max(0.0, kilograms)
        if self._spool <= 0.0:
            self._spool = SPOOL
            self._lot += 1
        self.alarms = int(self._spool < LOW)

    def judge(self) -> bool:
        """Reject a bead whose weight is out of tolerance: a turn or rubber is missing."""
        return abs(self._weight / WEIGHT - 1.0) <= TOLERANCE and super().judge()

    def _sense(self, phase: int) -> None:
        self.signals.update(
            phase=phase,
            turns=int(self._turned),
            turns_set=TURNS,
            winding_speed=max(0.0, self._speed.read()) if phase == WIND else self._speed.value,
            wire_tension=self._tension.read(),
            wire_length=round(self._turned * AROUND),
            encoder_position=round(self._turned * COUNTS),
            coating_temperature=self._coating.read(),
            coating_pressure=self._pressure.read(),
            bead_weight=self._weighed,
            spool_weight=self._spool,
            wire_lot=f"WR{self._lot}",
            wire_present=self._spool > 0.0,
            former_clamped=phase in {LOAD, WIND, CUT},
            cutter=phase == CUT,
        )
