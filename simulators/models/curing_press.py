"""A tyre curing press: 13 minutes of steam, nitrogen and patience.

Phases and pressures after Tire Industry 2020-5 (steam 1.55-1.65 MPa for 1-7 min, nitrogen at 2.1 MPa or
more) and 1997-7 (mould 180 degrees, inner 208 degrees); time constants are engineering estimates.
"""

from __future__ import annotations

from typing import ClassVar

from simulators.machine import Machine
from simulators.physics import Lag, Wander, arrhenius

# end of each phase, seconds into the cycle
LOAD, SHAPE, STEAM, NITROGEN, EXHAUST = 30.0, 60.0, 240.0, 690.0, 720.0
MOULD_SET, REFERENCE, ACTIVATION = 172.0, 150.0, 90_000.0
CURED = 20.0
"""Equivalent minutes at the reference temperature that a tyre needs."""


class CuringPress(Machine):
    """Two moulds in one press, each with its bladder; the cure integral decides the quality."""

    cycle: ClassVar[float] = 780.0
    spread: ClassVar[float] = 0.005
    scrap: ClassVar[float] = 0.002
    power_idle: ClassVar[float] = 6.0
    power_run: ClassVar[float] = 11.0
    serial: ClassVar[str] = "GT"

    def __init__(self, name: str, seed: str) -> None:
        super().__init__(name, seed)
        self._pressure = Lag(0.0, 8.0, self.rng, 0.02)
        self._bladder = Lag(150.0, 20.0, self.rng, 0.4)
        self._moulds = [Lag(MOULD_SET + self.rng.gauss(0, 0.5), 180.0, self.rng, 0.3) for _ in range(2)]
        self._platens = [Lag(170.0, 240.0, self.rng, 0.2) for _ in range(2)]
        self._clamp = Lag(0.0, 3.0, self.rng, 4.0)
        self._hydraulic = Lag(20.0, 2.0, self.rng, 0.5)
        self._position = Lag(1200.0, 4.0, self.rng, 0.3)
        self._steam = Wander(16.0, 0.1, 120.0, self.rng)
        self._nitrogen = Wander(22.0, 0.08, 120.0, self.rng)
        self._cure = 0.0
        self.run(0.0)

    def _phase(self) -> int:
        """Return the phase: 0 none, 1 load, 2 shape, 3 steam, 4 nitrogen, 5 exhaust, 6 open."""
        if not self.working:
            return 0
        share = self.elapsed * self.cycle / self.duration
        return 1 + sum(share >= end for end in (LOAD, SHAPE, STEAM, NITROGEN, EXHAUST))

    def run(self, dt: float) -> None:
        phase = self._phase()
        mould = self._moulds[0].value
        steam, nitrogen = self._steam.step(dt), self._nitrogen.step(dt)
        match phase:
            case 2:
                self._pressure.follow(0.4, dt, 4.0)
                self._bladder.follow(mould - 30, dt, 60.0)
            case 3:
                self._pressure.follow(steam, dt, 8.0)
                self._bladder.follow(203.0, dt, 20.0)
            case 4:
                self._pressure.follow(nitrogen, dt, 10.0)
                self._bladder.follow(mould, dt, 480.0)
            case _:
                self._pressure.follow(0.0, dt, 6.0)
                self._bladder.follow(mould - 45, dt, 90.0)
        closed = phase in {2, 3, 4, 5}
        self._position.follow(0.0 if closed else 1200.0, dt)
        self._clamp.follow(1850.0 if phase in {3, 4} else 300.0 if closed else 0.0, dt)
        self._hydraulic.follow(140.0 if phase in {3, 4} else 60.0 if closed else 20.0, dt)
        for mould_half, platen in zip(self._moulds, self._platens, strict=True):
            platen.follow(170.0, dt)
            # a green tyre at room temperature takes heat out of the mould
            mould_half.follow(MOULD_SET - (25.0 if phase == 1 else 0.0), dt)
        if phase == 1 and self.elapsed <= dt:
            self._cure = 0.0
        if phase in {3, 4}:
            self._cure += arrhenius((mould + self._bladder.value) / 2 - 20, REFERENCE, ACTIVATION) * dt / 60
        self._sense(phase)

    def judge(self) -> bool:
        return self._cure >= CURED and super().judge()

    def _sense(self, phase: int) -> None:
        self.signals.update(
            phase=phase,
            phase_time=round(self.elapsed) if phase else 0,
            bladder_pressure=max(0.0, self._pressure.read()),
            bladder_temperature=self._bladder.read(),
            mould_temperature_left=self._moulds[0].read(),
            mould_temperature_right=self._moulds[1].read(),
            platen_temperature_upper=self._platens[0].read(),
            platen_temperature_lower=self._platens[1].read(),
            steam_supply_pressure=self._steam.value,
            nitrogen_supply_pressure=self._nitrogen.value,
            clamp_force=max(0.0, self._clamp.read()),
            hydraulic_pressure=max(0.0, self._hydraulic.read()),
            mould_position=max(0.0, self._position.read()),
            cure_integral=self._cure,
            press_closed=phase in {2, 3, 4, 5},
            steam_valve=phase == 3,  # noqa: PLR2004 - a phase
            nitrogen_valve=phase == 4,  # noqa: PLR2004 - a phase
        )
