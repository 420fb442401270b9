"""A packing station: weigh the refrigerator, lower the carton over it, strap it, label it, scan the label.

All figures are engineering estimates; the label is a serial shipping container code (GS1, SSCC-18).
"""

from __future__ import annotations

import math
from typing import ClassVar

from simulators.machines.machine import Machine
from simulators.machines.physics import Lag, MeanRevertingNoise

NONE, INFEED, WEIGH, CARTON, STRAP, LABEL, OUTFEED = range(7)
ENDS = (4.0, 7.0, 12.0, 17.0, 20.0)
"""End of the phases INFEED to LABEL, seconds into the cycle."""
WEIGHT, TOLERANCE = 55.6, 0.6
"""Kilograms of a complete appliance with its carton; less means that a drawer or shelf is missing."""
INCOMPLETE, SMUDGED = 0.004, 0.003  # share of appliances with something missing, of labels that can't be read
STRAPS, PERIMETER = 2, 2.7
"""Straps on a carton, and metres of band in each."""
BAND, ROLL = 2_000.0, 3_000
"""Metres of band on a coil, and labels on a roll."""
LOW_BAND, LOW_LABELS = 100.0, 100
"""Levels at which an operator has to refill."""
GRADE_PASSED = 2


def sscc(number: int) -> str:
    """Return a serial shipping container code with its check digit (GS1 General Specifications, 7.9.1)."""
    digits = f"36999999{number % 10**9:09d}"
    total = sum(int(digit) * (3 if position % 2 == 0 else 1) for position, digit in enumerate(digits))
    return f"{digits}{-total % 10}"


class PackingStation(Machine):
    """One carton per cycle; weight and label decide the quality."""

    cycle: ClassVar[float] = 22.0
    spread: ClassVar[float] = 0.02
    scrap: ClassVar[float] = 0.0
    power_idle: ClassVar[float] = 1.2
    power_run: ClassVar[float] = 4.0
    serial: ClassVar[str] = "CT"
    takes: ClassVar[str] = "appliance"
    makes: ClassVar[str] = "carton"
    draws: ClassVar[str] = "appliance"
    recipes: ClassVar[tuple[str, ...]] = ("BCD-215W", "BCD-310W")

    def __init__(self, name: str, seed: str) -> None:
        super().__init__(name, seed)
        self._air = MeanRevertingNoise(6.2, 0.08, 20.0, self.rng)
        self._belt = Lag(0.0, 0.5, self.rng, 0.05, still=0.05)
        self._tension = Lag(0.0, 0.3, self.rng, 2.0)
        self._band = self.rng.uniform(0.3, 1.0) * BAND
        self._labels = self.rng.randrange(ROLL // 3, ROLL)
        self._number = self.rng.randrange(10**8)
        self._shown = self._left = self._takt = 0.0
        self._barcode, self._grade = "", 0
        self._draw()
        self.run(0.0)

    def begin(self) -> None:
        self._draw()

    def _draw(self) -> None:
        """Draw the variations of an appliance: its weight and the grade of its label."""
        missing = self.rng.uniform(0.7, 2.0) if self.rng.random() < INCOMPLETE else 0.0
        self._weight = self.rng.gauss(WEIGHT, 0.12) - missing
        self._next_grade = 1 if self.rng.random() < SMUDGED else self.rng.choice((3, 4, 4, 4))
        self._labelled = False

    def run(self, dt: float) -> None:
        """Move belt, scale, strapper and printer through the cycle."""
        time, phase = self.time, self.phase(ENDS)
        self._air.step(dt)
        moving = phase in {INFEED, OUTFEED} or ENDS[1] <= time < ENDS[1] + 1.2  # off the scale, too
        self._belt.follow(18.0 if moving else 0.0, dt)
        # each strap is tightened, welded and released
        pulling = phase == STRAP and (time - ENDS[2]) % 2.5 > 1.0
        self._tension.follow(420.0 if pulling else 0.0, dt)
        scale = self._weight * -math.expm1(-(time - ENDS[0]) / 0.35) if phase == WEIGH else 0.0
        if phase == CARTON:
            self._shown = self._weight
        if phase >= LABEL and not self._labelled:
            self._label()
        off = bool(self._shown) and abs(self._shown - WEIGHT) > TOLERANCE
        self.alarms = off | (self._labels < LOW_LABELS) << 1 | (self._band < LOW_BAND) << 2
        self.signals.update(
            phase=phase,
            scale_weight=max(0.0, scale + self.rng.gauss(0.0, 0.01)),
            carton_weight=self._shown,
            weight_deviation=self._shown - WEIGHT if self._shown else 0.0,
            takt_time=self._takt,
            conveyor_speed=max(0.0, self._belt.read()),
            strap_tension=max(0.0, self._tension.read()),
            strap_remaining=int(self._band),
            labels_remaining=self._labels,
            air_pressure=self._air.value - (0.25 if phase == CARTON else 0.0),
            carton_barcode=self._barcode,
            scan_grade=self._grade,
            weight_in_tolerance=abs(self._shown - WEIGHT) <= TOLERANCE,
            label_readable=self._grade >= GRADE_PASSED,
            conveyor_running=moving,
            strapper_active=pulling,
        )

    def judge(self) -> bool:
        """Reject an incomplete appliance or an unreadable label; in both cases a carton has left."""
        self._takt, self._left = self.clock - self._left, self.clock
        return abs(self._weight - WEIGHT) <= TOLERANCE and self._grade >= GRADE_PASSED

    def _label(self) -> None:
        """Print, apply and scan one label; by now both straps are on."""
        self._labelled = True
        self._number += 1
        self._barcode, self._grade = sscc(self._number), self._next_grade
        self._labels = self._labels - 1 if self._labels > 1 else ROLL
        self._band -= STRAPS * PERIMETER
        if self._band < PERIMETER * STRAPS:
            self._band = BAND
