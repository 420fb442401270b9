"""An injection moulding machine for crisper drawers: 4,500 kN, a shot every 45 seconds.

Cycle parameters are those of OPC 40077 (EUROMAP 77); their values are engineering estimates.
"""

from __future__ import annotations

import math
from typing import ClassVar

from simulators.machines.machine import Machine
from simulators.machines.physics import Lag, MeanRevertingNoise

NONE, CLOSE, INJECT, HOLD, COOL, OPEN = range(6)
CLOSED, HELD, COOLED = 3.0, 14.0, 38.0
"""End of the phases CLOSE, HOLD and COOL, seconds into the cycle; INJECT ends when the mould is full."""
SCREW = math.pi * 6.0**2 / 4  # cm2, 60 mm across
DOSED = 128.0  # mm: the screw before a shot
LOCKED = 4500.0  # kN
CUSHION = (5.0, 10.0)  # mm of melt that may be left: with less, hold pressure does not reach the part


class InjectionMoulding(Machine):
    """One shot per cycle, one part per shot; the cushion decides the quality."""

    cycle: ClassVar[float] = 45.0
    spread: ClassVar[float] = 0.004
    scrap: ClassVar[float] = 0.004
    power_idle: ClassVar[float] = 16.0
    power_run: ClassVar[float] = 38.0
    serial: ClassVar[str] = "DR"
    recipes: ClassVar[tuple[str, ...]] = ("DRAWER-215-R", "DRAWER-215-L")

    def __init__(self, name: str, seed: str) -> None:
        super().__init__(name, seed)
        self._melt = MeanRevertingNoise(222.0, 1.0, 180.0, self.rng)
        self._barrel = MeanRevertingNoise(215.0, 0.5, 90.0, self.rng)
        self._mould = Lag(45.0, 60.0, self.rng, 0.1)
        self._pressure = Lag(0.0, 0.15, self.rng, 1.5)
        self._clamp = Lag(0.0, 0.3, self.rng, 4.0, still=2.0)
        self._shear = Lag(0.0, 0.7, self.rng)  # K that the nozzle adds
        self._position = DOSED
        self._shot = self._draw()
        self.signals.update(dict.fromkeys(self._shot, 0.0))  # nothing moulded yet
        self.run(0.0)

    def begin(self) -> None:
        self._shot = self._draw()

    def _draw(self) -> dict[str, float]:
        """Draw the cycle parameters of a shot: hot melt flows faster and needs less pressure."""
        thin = (self._melt.value - 222.0) / 10.0
        cushion = self.rng.gauss(7.2, 0.4)
        return {
            "injection_time": self.rng.gauss(2.2, 0.015) - 0.1 * thin,
            "dosing_time": self.rng.gauss(12.5, 0.25),
            "cushion_stroke": cushion,
            "cushion_volume": cushion / 10 * SCREW,
            "transfer_stroke": self.rng.gauss(22.0, 0.04),
            "pressure_maximum": self.rng.gauss(1080.0, 8.0) - 60.0 * thin,
            "hold_pressure": self.rng.gauss(620.0, 3.0),
            "back_pressure": self.rng.gauss(85.0, 1.0),
        }

    def run(self, dt: float) -> None:
        """Move screw and clamp through the cycle; the parameters of a shot show when its mould opens."""
        time = self.time
        full = CLOSED + self._shot["injection_time"]
        phase = self.phase((CLOSED, full, HELD, COOLED))
        self._melt.step(dt)
        self._barrel.step(dt)
        self._shear.follow(3.0 if phase == INJECT else 0.0, dt, 0.7 if phase == INJECT else 2.5)
        self._mould.follow(52.0 if phase in {INJECT, HOLD} else 43.5, dt)
        locked = phase in {INJECT, HOLD, COOL} or (phase == CLOSE and time > CLOSED - 1.5)
        self._clamp.follow(LOCKED if locked else 0.0, dt)
        dosed = (time - HELD) / self._shot["dosing_time"] if phase == COOL else 0.0
        dosing = 0.0 < dosed < 1.0
        self._move(phase, time, full, dosed)
        self._pressure.follow(self._target(phase, (time - CLOSED) / (full - CLOSED), dosing=dosing), dt)
        if phase == OPEN:
            self.signals.update(self._shot)
            self.alarms = int(not CUSHION[0] <= self._shot["cushion_stroke"] <= CUSHION[1])
        self.signals.update(
            phase=phase,
            melt_temperature=self._melt.value + self._shear.value + self.rng.gauss(0.0, 0.2),
            barrel_temperature=self._barrel.value,
            mould_temperature=self._mould.read(),
            injection_pressure=max(0.0, self._pressure.read()),
            clamp_force=max(0.0, self._clamp.read()),
            screw_position=self._position,
            mould_id="M-0215-R2",
        )

    def judge(self) -> bool:
        """Reject a part without a cushion, since it has sink marks."""
        return CUSHION[0] <= self._shot["cushion_stroke"] <= CUSHION[1] and super().judge()

    def _move(self, phase: int, time: float, full: float, dosed: float) -> None:
        """Move the screw: forward with the shot, a little more in hold, back while dosing."""
        cushion, transfer = self._shot["cushion_stroke"], self._shot["transfer_stroke"]
        if phase == INJECT:
            self._position = DOSED - (DOSED - transfer) * (time - CLOSED) / (full - CLOSED)
        elif phase == HOLD:
            self._position = cushion + (transfer - cushion) * math.exp(-(time - full) / 1.8)
        elif phase == COOL:
            self._position = cushion + (DOSED - cushion) * min(1.0, dosed)

    def _target(self, phase: int, filled: float, *, dosing: bool) -> float:
        """Return the pressure of the melt."""
        if phase == INJECT:
            return 250.0 + (self._shot["pressure_maximum"] - 250.0) * filled
        return self._shot["hold_pressure"] if phase == HOLD else self._shot["back_pressure"] if dosing else 0.0
