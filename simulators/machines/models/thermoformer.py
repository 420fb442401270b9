"""A vacuum former for inner liners: heat a sheet, blow it up, suck it over the mould.

Forming window 140-150 degrees for HIPS and 160-170 for ABS, vacuum 0.07-0.09 MPa below the atmosphere and at most
0.35 MPa of air after evpvacuum.com; time constants are engineering estimates.
"""

from __future__ import annotations

from typing import ClassVar

from simulators.machines.machine import Machine
from simulators.machines.physics import Lag, MeanRevertingNoise

NONE, LOAD, HEAT, BLOW, FORM, EJECT = range(6)
ENDS = (8.0, 42.0, 46.0, 66.0)
"""End of the phases LOAD to FORM, seconds into the cycle."""
HIPS, ABS = 1, 2
MATERIALS = {"LINER-215": HIPS, "LINER-310": ABS}
WINDOW = {HIPS: (138.0, 152.0), ABS: (158.0, 172.0)}
"""Temperatures at which a sheet may be formed."""
HEATERS = {HIPS: (420.0, 400.0), ABS: (533.0, 513.0)}
"""Upper and lower heaters, in degrees."""
LOTS = {HIPS: "HIPS", ABS: "ABS"}
SOFT = 105.0
"""Temperature above which the sheet sags."""


class Thermoformer(Machine):
    """One sheet per cycle; its temperature when it meets the mould decides the quality."""

    cycle: ClassVar[float] = 75.0
    spread: ClassVar[float] = 0.006
    scrap: ClassVar[float] = 0.006
    power_idle: ClassVar[float] = 32.0
    power_run: ClassVar[float] = 72.0
    serial: ClassVar[str] = "LN"
    makes: ClassVar[str] = "liner"
    changeover: ClassVar[float] = 900.0  # another mould
    recipes: ClassVar[tuple[str, ...]] = tuple(MATERIALS)

    def __init__(self, name: str, seed: str) -> None:
        super().__init__(name, seed)
        self._heaters = [MeanRevertingNoise(mean, 1.5, 90.0, self.rng) for mean in HEATERS[HIPS]]
        self._ambient = MeanRevertingNoise(27.0, 0.8, 900.0, self.rng)
        self._sheet = Lag(self._ambient.value, 35.0, self.rng, 0.4)
        self._power = Lag(28.0, 1.0, self.rng, 0.6)
        self._vacuum = Lag(0.0, 1.5, self.rng, 0.0002)
        self._air = Lag(0.0, 0.6, self.rng, 0.0008)
        self._mould = Lag(55.0, 90.0, self.rng, 0.2)
        self._sag = Lag(0.0, 0.8, self.rng, 0.4)
        self._gauge = 3.2
        self._formed = 0.0
        self.run(0.0)

    def begin(self) -> None:
        self._gauge = self.rng.gauss(3.2, 0.015)
        self.alarms = 0

    def run(self, dt: float) -> None:
        """Heat, stretch, form and cool one sheet."""
        phase = self.phase(ENDS)
        for heater, mean in zip(self._heaters, HEATERS[self._material], strict=True):
            heater.mean = mean
        upper, lower = (heater.step(dt) for heater in self._heaters)
        window = WINDOW[self._material]
        ambient = self._ambient.step(dt)
        if phase == HEAT:
            # a thicker sheet takes longer
            hot = 219.0 + 0.3 * ((upper + lower) / 2 - 410.0)
            self._sheet.follow(hot, dt, 36.0 * self._gauge / 3.2)
        elif phase == BLOW:
            self._sheet.follow(window[0] - 28.0, dt, 45.0)
            self._formed = self._sheet.value
            self.alarms = int(not window[0] <= self._formed <= window[1])
        elif phase == FORM:
            self._sheet.follow(self._mould.value, dt, 9.0)
        else:
            # the pyrometer looks at the next sheet, or at the empty frame
            self._sheet.follow(ambient + 1.0, dt, 1.5)
        soft = max(0.0, self._sheet.value - SOFT) / 40.0
        self._sag.follow({HEAT: 55.0 * soft**2, BLOW: -120.0}.get(phase, 0.0), dt)
        self._vacuum.follow(-0.085 if phase == FORM else 0.0, dt, 1.5 if phase == FORM else 0.7)
        self._air.follow({BLOW: 0.28, EJECT: 0.12}.get(phase, 0.0), dt)
        self._power.follow(112.0 if phase == HEAT else 28.0, dt)
        self._mould.follow(68.0 if phase == FORM else 52.0, dt)
        self._sense(phase, upper, lower)

    def judge(self) -> bool:
        """Reject a sheet too cold to fill the mould, or so hot that it tears or webs."""
        window = WINDOW[self._material]
        return window[0] <= self._formed <= window[1] and super().judge()

    @property
    def _material(self) -> int:
        return MATERIALS[self.recipe]

    def _sense(self, phase: int, upper: float, lower: float) -> None:
        # edges lose heat to the clamps, in proportion to the difference from the room
        edge = self._sheet.value - 0.03 * (self._sheet.value - self._ambient.value)
        self.signals.update(
            phase=phase,
            sheet_temperature=self._sheet.read(),
            sheet_edge_temperature=edge + self.rng.gauss(0.0, 0.4),
            heater_temperature_upper=upper,
            heater_temperature_lower=lower,
            heater_power=self._power.read(),
            vacuum=self._vacuum.read(),
            air_pressure=max(0.0, self._air.read()),
            mould_temperature=self._mould.read(),
            sag=self._sag.read(),
            sheet_gauge=self._gauge,
            material=self._material,
            sheet_lot=f"{LOTS[self._material]}-{4711 + self.cycles // 400:06d}",
            clamp_closed=phase in {HEAT, BLOW, FORM},
            vacuum_valve=phase == FORM,
            air_valve=phase in {BLOW, EJECT},
        )
