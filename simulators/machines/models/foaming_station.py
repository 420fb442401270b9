"""A foaming jig for refrigerator cabinets: a shot of polyurethane, its exotherm, and minutes of curing.

Mix pressure and components' temperatures after Materials 2023, 16, 857; all else is an engineering estimate.
"""

from __future__ import annotations

import math
from typing import ClassVar

from simulators.machines.machine import Machine
from simulators.machines.physics import Lag, MeanRevertingNoise

NONE, LOAD, CLOSE, POUR, CURE, OPEN = range(6)
ENDS = (30.0, 45.0, 53.0, 330.0)
"""End of the phases LOAD to CURE, seconds into the cycle."""
CREAM = 4.0  # seconds from the start of the pour until the mix begins to react
RISE, CONDUCTION, SWELL = 60.0, 2400.0, 45.0  # seconds: exotherm, cooling of the core, highest foam pressure
RATIO, RATIO_LIMIT, COOLEST = 1.18, 0.03, 108.0  # the last: degrees that the core must reach
TANK, REFILL = 1200.0, 25.0  # kg of polyol in a full day tank, percent at which it is filled up


class FoamingStation(Machine):
    """One jig with its mixing head; ratio and core temperature decide the quality."""

    cycle: ClassVar[float] = 360.0
    spread: ClassVar[float] = 0.004
    scrap: ClassVar[float] = 0.008
    power_idle: ClassVar[float] = 5.0
    power_run: ClassVar[float] = 9.0
    serial: ClassVar[str] = "CB"
    makes: ClassVar[str] = "cabinet"
    stores: ClassVar[str] = "cabinet"
    recipes: ClassVar[tuple[str, ...]] = ("CABINET-215", "CABINET-310")

    def __init__(self, name: str, seed: str) -> None:
        super().__init__(name, seed)
        self._polyol = MeanRevertingNoise(18.0, 0.25, 300.0, self.rng)
        self._isocyanate = MeanRevertingNoise(20.0, 0.25, 300.0, self.rng)
        self._pressures = [Lag(18.0, 0.6, self.rng, 0.5), Lag(16.0, 0.6, self.rng, 0.5)]
        self._jig = Lag(42.0, 240.0, self.rng, 0.15)
        self._core = Lag(38.0, 15.0, self.rng, 0.3)
        self._gas = Lag(0.8, 20.0, self.rng, 0.05)
        self._level, self._ratio = self.rng.uniform(REFILL, 90.0), RATIO
        self._draw()
        self.run(0.0)

    def begin(self) -> None:
        self._draw()

    def _draw(self) -> None:
        """Draw the variations of a shot: weight, heat, and so on."""
        self._shot = self.rng.gauss(6.8, 0.03)
        self._heat = self.rng.gauss(108.0, 2.0)
        self._weight = self._peak = 0.0
        self.alarms = 0

    def run(self, dt: float) -> None:
        """Meter the shot, let it react, and wait until it carries the cabinet."""
        time, phase = self.time, self.phase(ENDS)
        self._polyol.step(dt)
        self._isocyanate.step(dt)
        # pumps go to high pressure a little before the head opens
        high = ENDS[1] - 4.0 < time < ENDS[2] and self.working
        self._pressures[0].follow(145.0 if high else 18.0, dt)
        self._pressures[1].follow(138.0 if high else 16.0, dt)
        foam = 0.0
        if phase in {POUR, CURE}:
            self._pour(time)
            foam = self._react(time - ENDS[1] - CREAM, dt)
        else:
            self._core.follow(self._jig.value - 4.0, dt)
        self._jig.follow(43.0 if phase == CURE else 41.5, dt)
        self._gas.follow({POUR: 6.0, OPEN: 3.5}.get(phase, 0.8), dt)
        self._peak = max(self._peak, self._core.value)
        self.signals.update(
            phase=phase,
            demould_time=math.ceil(ENDS[3] - time) if phase in {POUR, CURE} else 0,
            polyol_temperature=self._polyol.value,
            isocyanate_temperature=self._isocyanate.value,
            polyol_pressure=self._pressures[0].read(),
            isocyanate_pressure=self._pressures[1].read(),
            shot_weight=self._weight,
            mix_ratio=self._ratio,
            jig_temperature=self._jig.read(),
            core_temperature=self._core.read(),
            foam_pressure=abs(foam + self.rng.gauss(0.0, 0.2)),
            gas_concentration=max(0.0, self._gas.read()),
            polyol_level=self._level,
            jig_closed=phase in {POUR, CURE},
            mix_head_open=phase == POUR,
            exhaust_fan=phase in {POUR, OPEN},
        )

    def judge(self) -> bool:
        """Reject foam with a wrong ratio or a cool core, since it shrinks later."""
        return not self.alarms and self._peak > COOLEST and super().judge()

    def _pour(self, time: float) -> None:
        """Meter both components for as long as the head has been open."""
        self._ratio = self._ratio if self._weight else self.rng.gauss(RATIO, 0.01)
        weight = self._shot * min(1.0, (time - ENDS[1]) / (ENDS[2] - ENDS[1]))
        level = self._level - 100.0 * (weight - self._weight) / (1 + self._ratio) / TANK
        self._weight, self._level = weight, level if level > REFILL else 95.0
        self.alarms = int(abs(self._ratio / RATIO - 1) > RATIO_LIMIT)

    def _react(self, time: float, dt: float) -> float:
        """Return the foam's pressure in kPa, and heat the core, `time` after the cream time."""
        if time <= 0:
            self._core.follow(self._polyol.value + 2.0, dt, 1.2)
            return 0.0
        rise = (1 - math.exp(-time / RISE)) * math.exp(-time / CONDUCTION)
        self._core.value = self._polyol.value + 2.0 + self._heat * rise
        return 55.0 * time / SWELL * math.exp(1 - time / SWELL)
