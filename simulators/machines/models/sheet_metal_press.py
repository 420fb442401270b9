"""A mechanical press that draws refrigerator side panels: 24 strokes a minute, 2,500 kN.

Everything follows from the crank angle, so a step may be any part of a stroke. Figures are engineering
estimates.
"""

from __future__ import annotations

import math
from typing import ClassVar

from simulators.machines.machine import Machine
from simulators.machines.physics import Lag, MeanRevertingNoise

STROKE, WORK = 250.0, 28.0  # mm: of the slide, and above bottom dead centre where the die meets the sheet
PEAK, CUSHION = 1850.0, 220.0  # kN
LIMIT = 0.06
"""Share by which a stroke's peak may differ from the die's own before the panel is rejected."""
SLIP, RECOVERY = 0.07, 0.6
"""Share of its speed that the flywheel gives to a stroke, and seconds in which the motor restores it."""


class SheetMetalPress(Machine):
    """One stroke per part; force at both uprights, bottom dead centre, flywheel and die."""

    cycle: ClassVar[float] = 2.5
    spread: ClassVar[float] = 0.004
    scrap: ClassVar[float] = 0.004
    power_idle: ClassVar[float] = 9.0
    power_run: ClassVar[float] = 32.0
    serial: ClassVar[str] = "SP"
    makes: ClassVar[str] = "panel"
    changeover: ClassVar[float] = 600.0  # another die
    recipes: ClassVar[tuple[str, ...]] = ("PANEL-L-215", "PANEL-R-215")

    def __init__(self, name: str, seed: str) -> None:
        super().__init__(name, seed)
        self._sheet = MeanRevertingNoise(1.0, 0.012, 240.0, self.rng)
        self._cushion = MeanRevertingNoise(42.0, 0.4, 60.0, self.rng)
        self._bearing = Lag(self.rng.uniform(38.0, 45.0), 1800.0, self.rng, 0.05)
        self._die_strokes = self.rng.randrange(20_000, 80_000)
        self._peak = PEAK
        self._left = self._right = self._bottom = 0.0
        self.run(0.0)

    def begin(self) -> None:
        # gauge and strength of the sheet wander along the coil, blanks differ a little
        self._peak = PEAK * self._sheet.value * self.rng.gauss(1.0, 0.008)
        self._balance = self.rng.gauss(0.505, 0.004)
        self._struck = False

    def run(self, dt: float) -> None:
        """Turn the crank; the stroke slows the flywheel, the bearings warm up over a shift."""
        share = self.elapsed / self.duration if self.working else 0.0
        self._sheet.step(dt)
        self._cushion.step(dt)
        self._bearing.follow(47.0 if self.working else 30.0, dt)
        down = self.working and share < 0.5  # noqa: PLR2004 - half a turn
        if self.working and not down and not self._struck:
            self._strike()
        height = STROKE / 2 * (1 + math.cos(2 * math.pi * share))
        slip = self._slip(share, height, down=down) if self.working else 0.0
        self.signals.update(
            stroke_rate=60.0 / self.duration if self.working else 0.0,
            crank_angle=360.0 * share,
            slide_position=height,
            tonnage=self._tonnage(height, down=down),
            tonnage_peak_left=self._left,
            tonnage_peak_right=self._right,
            bottom_deviation=self._bottom,
            flywheel_speed=420.0 * (1 - slip) + self.rng.gauss(0.0, 0.3),
            motor_current=34.0 + 900.0 * slip + self.rng.gauss(0.0, 0.5),
            cushion_pressure=self._cushion.value + (3.0 if height < WORK and self.working else 0.0),
            bearing_temperature=self._bearing.read(),
            die_id="D-0215-L",
            die_strokes=self._die_strokes,
            clutch_engaged=self.working,
            blank_present=down,
            light_curtain_clear=True,
        )

    def _slip(self, share: float, height: float, *, down: bool) -> float:
        """Return the fraction of speed that the flywheel lost in this stroke, or has not regained since the last."""
        since = math.inf if down and not self.cycles else (share + 0.5) % 1.0 * self.duration
        left = SLIP * math.exp(-since / RECOVERY)
        done = (1 - height / WORK) ** 2 if down and height < WORK else 0.0  # share of the work that is done
        return left + (SLIP - left) * done

    def judge(self) -> bool:
        """Reject a panel whose force curve differs from the die's: a crack, a double blank, a wrong sheet."""
        return not self.alarms and super().judge()

    def _strike(self) -> None:
        """Record the stroke at bottom dead centre, as the tonnage monitor and the position sensor do."""
        self._struck = True
        self._die_strokes += 1
        self._left, self._right = self._peak * self._balance, self._peak * (1 - self._balance)
        # the frame grows as it warms up, and stretches with the force
        growth, stretch = 0.0018 * (self._bearing.value - 38.0), 0.25 * (self._peak / PEAK - 1)
        self._bottom = stretch - growth + self.rng.gauss(0.0, 0.003)
        self.alarms = int(abs(self._peak / PEAK - 1) > LIMIT)

    def _tonnage(self, height: float, *, down: bool) -> float:
        """Return the force: the draw on the way down, then the cushion that lifts the panel."""
        if height >= WORK or not self.working:
            return abs(self.rng.gauss(0.0, 1.5))
        if not down:
            return CUSHION * (1 - height / WORK)
        return CUSHION + (self._peak - CUSHION) * math.sin(math.pi * (1 - height / WORK) ** 2.5)
