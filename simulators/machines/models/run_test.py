"""A station of the run test: a refrigerator has 43 minutes to cool its freezer from the room to -18 degrees.

60-150 W at 220 V; how evaporator and compartments follow each other is an engineering estimate.
"""

from __future__ import annotations

from typing import ClassVar

from simulators.machines.machine import Machine
from simulators.machines.physics import Lag, MeanRevertingNoise

NONE, CONNECT, PULL_DOWN, EVALUATE = range(4)
ENDS = (60.0, 2640.0)
"""End of the phases CONNECT and PULL_DOWN, seconds into the cycle."""
PASS, TOO_SLOW, TOO_MUCH_POWER = 1, 2, 3
LIMIT, POWER_LIMIT = -18.0, 150.0  # degrees, W
WARM, COLDEST = 25.0, -33.0  # degrees of the evaporator before, and in the end where the charge is right
UNDERCHARGED, SHORTED = 0.012, 0.015
"""Chance of a charge that is short, and of a compressor with shorted turns, added to those before it."""


class RunTest(Machine):
    """One refrigerator at a time: the pull-down and the compressor's power decide."""

    cycle: ClassVar[float] = 2700.0
    spread: ClassVar[float] = 0.001
    scrap: ClassVar[float] = 0.001
    power_idle: ClassVar[float] = 0.02
    power_run: ClassVar[float] = 0.1
    serial: ClassVar[str] = "RF"
    takes: ClassVar[str] = "appliance"
    makes: ClassVar[str] = "appliance"
    stores: ClassVar[str] = "appliance"
    recipes: ClassVar[tuple[str, ...]] = ("BCD-215W", "BCD-310W")
    changeover: ClassVar[float] = 5.0  # other limits
    between_stops: ClassVar[float] = 8 * 3600.0  # of one station
    stop: ClassVar[float] = 1500.0
    places: ClassVar[int] = 20

    def __init__(self, name: str, seed: str) -> None:
        super().__init__(name, seed)
        self._ambient = MeanRevertingNoise(WARM, 0.5, 1200.0, self.rng)
        self._mains = MeanRevertingNoise(222.0, 1.2, 60.0, self.rng)
        self._evaporator = Lag(WARM, 300.0, self.rng, 0.08)
        self._freezer = Lag(WARM, 1300.0, self.rng, 0.05)
        self._fridge = Lag(WARM, 1900.0, self.rng, 0.05)
        self._condenser = Lag(WARM, 240.0, self.rng, 0.08)
        self._power = Lag(0.0, 1.0, self.rng, 0.4)
        self._draw()
        self.run(0.0)

    def begin(self) -> None:
        self._draw()

    def _draw(self) -> None:
        """Draw the refrigerator: its compressor, its charge, its insulation."""
        luck = self.rng.random()
        self._coldest = COLDEST + abs(self.rng.gauss(0.0, 0.5))
        if luck < UNDERCHARGED:
            self._coldest += self.rng.uniform(7.0, 12.0)
        self._base = self.rng.gauss(74.0, 1.5) + (16.0 if UNDERCHARGED < luck < SHORTED else 0.0)
        self._inertia = self.rng.gauss(1.0, 0.04)
        self._energy = self._highest = 0.0
        self._pulled_down = self._result = self.alarms = 0

    def run(self, dt: float) -> None:
        """Cool the evaporator, and the compartments after it; the colder, the less the compressor draws."""
        time, phase = self.time, self.phase(ENDS)
        ambient, mains = self._ambient.step(dt), self._mains.step(dt)
        load = 0.0
        if phase == PULL_DOWN:
            self._evaporator.follow(self._coldest, dt)
            self._freezer.follow(self._evaporator.value, dt, 1300.0 * self._inertia)
            self._fridge.follow(0.25 * self._evaporator.value + 8.0, dt, 1900.0 * self._inertia)
            load = (self._evaporator.value - COLDEST) / (WARM - COLDEST)
            self._power.follow(self._base + 66.0 * load, dt)
            self._highest = max(self._highest, self._power.value)
            if not self._pulled_down and self._freezer.value <= LIMIT:
                self._pulled_down = round(time - ENDS[0])
        else:
            self._power.follow(0.0, dt, 0.3)
            if phase != EVALUATE:
                # the probes are removed, and reach the room's temperature
                for probe in (self._evaporator, self._freezer, self._fridge):
                    probe.follow(ambient, dt, 12.0)
        self._condenser.follow(ambient + (9.0 + 11.0 * load if phase == PULL_DOWN else 0.0), dt)
        self._energy += self._power.value * dt / 3600
        if phase == EVALUATE and self._result == NONE:
            too_much = TOO_MUCH_POWER if self._highest > POWER_LIMIT else PASS
            self._result = too_much if self._pulled_down else TOO_SLOW
            self.alarms = self._result - PASS
        self._sense(phase, time, load, mains)

    def judge(self) -> bool:
        """Pass a refrigerator that was cold in time and drew the right power."""
        return self._result == PASS and super().judge()

    def _sense(self, phase: int, time: float, load: float, mains: float) -> None:
        power = max(0.0, self._power.read()) if self._power.value > 1.0 else 0.0
        factor = 0.58 + 0.12 * load if power else 0.0
        self.signals.update(
            phase=phase,
            test_time=round(time) if phase else 0,
            freezer_temperature=self._freezer.read(),
            fridge_temperature=self._fridge.read(),
            evaporator_temperature=self._evaporator.read(),
            condenser_temperature=self._condenser.read(),
            ambient_temperature=self._ambient.value,
            power=power,
            voltage=mains,
            current=power / (mains * factor) if factor else 0.0,
            power_factor=factor,
            test_energy=self._energy,
            pull_down_time=self._pulled_down,
            result=self._result,
            compressor_on=phase == PULL_DOWN,
        )
