"""A four-roll calender: textile cord between two sheets of rubber, wound up in rolls.

Rolls at 70-90 degrees, 20-60 m/min, gauge within 0.05 mm; all engineering estimates. The line slows down
while a full roll is changed for an empty liner and the splice of the cord passes the rolls.
"""

from __future__ import annotations

from typing import ClassVar

from simulators.machines.machine import Machine
from simulators.machines.physics import Lag, MeanRevertingNoise

ROLLS = (82.0, 86.0, 84.0, 78.0)
GAUGE, TOLERANCE = 1.100, 0.05  # mm
SWELL = 1.07
"""Ratio of the sheet's thickness to the gap."""
SPEED, SLOW = 45.0, 22.0  # m/min
CHANGE, SPLICE = 25.0, (8.0, 14.0)  # seconds into the cycle
LETOFF, WINDUP, TAPER, STILL = 2.4, 3.2, 0.8, 1.2  # kN
ROLL = 260.0  # metres at which the tension has tapered off
LOT = 8
"""Calendered rolls per roll of cord."""


class Calender(Machine):
    """Runs without a pause; a roll of calendered ply takes six minutes."""

    cycle: ClassVar[float] = 360.0
    spread: ClassVar[float] = 0.01
    scrap: ClassVar[float] = 0.012
    power_idle: ClassVar[float] = 40.0
    power_run: ClassVar[float] = 210.0
    serial: ClassVar[str] = "PL"
    makes: ClassVar[str] = "ply"
    recipes: ClassVar[tuple[str, ...]] = ("PLY-1100", "PLY-1100B")

    def __init__(self, name: str, seed: str) -> None:
        super().__init__(name, seed)
        self._speed = Lag(0.0, 5.0, self.rng, 0.05, still=0.05)
        self._rolls = [Lag(roll, 240.0, self.rng, 0.15) for roll in ROLLS]
        self._drift = [MeanRevertingNoise(roll, 0.5, 500.0, self.rng) for roll in ROLLS]
        self._tilt = MeanRevertingNoise(0.0, 0.003, 300.0, self.rng)  # the left gap minus the right gap
        self._stock = MeanRevertingNoise(0.0, 0.014, 40.0, self.rng)  # mm of gauge, from the viscosity
        self._trim = Lag(0.0, 20.0, self.rng)
        self._gap = Lag(GAUGE / SWELL, 2.0, self.rng, 0.0005)
        self._letoff = Lag(STILL, 1.5, self.rng, 0.03)
        self._windup = Lag(STILL, 1.5, self.rng, 0.03)
        self._length = self._off = 0.0
        self._lot = self.rng.randrange(100_000, 900_000)
        self.run(0.0)

    def begin(self) -> None:
        self._length = self._off = 0.0

    def run(self, dt: float) -> None:
        """Roll, measure the gauge, correct the gap; slow down to change rolls."""
        running = self.working
        changing = running and self.elapsed < CHANGE
        splice = running and SPLICE[0] <= self.elapsed < SPLICE[1]
        speed = self._speed.follow((SLOW if changing else SPEED) if running else 0.0, dt)
        self._length += speed * dt / 60
        for roll, drift in zip(self._rolls, self._drift, strict=True):
            # the rubber brings heat, more at a higher speed
            roll.follow(drift.step(dt) + 2.0 * (speed / SPEED - 1.0), dt)
        # slower is thinner: the rolls are pushed apart less. The gap control corrects lasting deviations
        off = self._stock.step(dt) + 0.0012 * (speed - SPEED)
        if running:
            self._trim.follow(off, dt)
            self._gap.follow((GAUGE - self._trim.value) / SWELL, dt)
        gauge = self._gap.value * SWELL + off if running else GAUGE
        self._off += dt if abs(gauge - GAUGE) > TOLERANCE else 0.0
        self.alarms = int(abs(gauge - GAUGE) > TOLERANCE)
        bump = 0.5 if splice else 0.0
        taper = TAPER * min(1.0, self._length / ROLL)
        self._letoff.follow(LETOFF + bump if running else STILL, dt)
        self._windup.follow(WINDUP - taper - bump if running else STILL, dt)
        self._sense(gauge + self.rng.gauss(0.0, 0.002), running=running, splice=splice)

    def judge(self) -> bool:
        """Reject a roll if too much of it is out of gauge."""
        good = self._off <= 0.05 * self.duration and super().judge()
        if good:
            self.supply.name_lot("ply", self.part)
        return good

    def _sense(self, gauge: float, *, running: bool, splice: bool) -> None:
        tilt = self._tilt.value / 2
        self.signals.update(
            drive_running=running,
            gap_control=running,
            splice_passing=splice,
            line_speed=max(0.0, self._speed.read()) if running else self._speed.value,
            roll_1_temperature=self._rolls[0].read(),
            roll_2_temperature=self._rolls[1].read(),
            roll_3_temperature=self._rolls[2].read(),
            roll_4_temperature=self._rolls[3].read(),
            gap_left=self._gap.read() + tilt,
            gap_right=self._gap.read() - tilt,
            gauge=gauge,
            gauge_deviation=round(1000.0 * (gauge - GAUGE)),
            letoff_tension=self._letoff.read(),
            windup_tension=self._windup.read(),
            roll_length=self._length,
            cord_lot=f"CD{self._lot + self.cycles // LOT}",
        )
