"""A station of an evacuation carousel: 37 minutes of pumping, a pressure-rise test, a charge of isobutane.

P = Pult + (P0 - Pult) exp(-t S/V), plus what oil and moisture give off, has to come below 0.08 Torr (11 Pa).
"""

from __future__ import annotations

import math
from typing import ClassVar

from simulators.machines.machine import Machine
from simulators.machines.physics import Lag, MeanRevertingNoise

NONE, CONNECT, EVACUATE, RISE, CHARGE, SEAL, RELEASE = range(7)
ENDS = (40.0, 2290.0, 2350.0, 2410.0, 2470.0)
"""End of the phases CONNECT to SEAL, seconds into the cycle."""
PASS, NO_VACUUM, RISES = 1, 2, 3
ATMOSPHERE, VACUUM, RISE_LIMIT = 101_325.0, 11.0, 6.0  # Pa, Pa, Pa/min
CHARGES = {"R600A-58": 58.0, "R600A-64": 64.0}  # recipe -> g
FLOW = 1.25  # g/s
PUMPING = ENDS[1] - ENDS[0]
EMPTY, FULL = 3.0, 46.0  # kg of refrigerant in the cylinder
WET, LEAKY = 0.004, 0.008  # chance of a circuit with moisture in it; and of a circuit with a leak, added to that


class EvacuationCharge(Machine):
    """One refrigerator at a time; its vacuum and charge are kept with its serial number."""

    cycle: ClassVar[float] = 2520.0
    spread: ClassVar[float] = 0.002
    scrap: ClassVar[float] = 0.001
    power_idle: ClassVar[float] = 0.2
    power_run: ClassVar[float] = 1.1
    serial: ClassVar[str] = "RF"
    takes: ClassVar[str] = "circuit"
    makes: ClassVar[str] = "circuit"
    draws: ClassVar[str] = "cabinet"
    recipes: ClassVar[tuple[str, ...]] = tuple(CHARGES)
    changeover: ClassVar[float] = 5.0  # another weight to charge
    between_stops: ClassVar[float] = 10 * 3600.0  # of one place
    stop: ClassVar[float] = 1500.0
    places: ClassVar[int] = 42
    records: ClassVar[tuple[str, ...]] = ("record_serial_number", "record_charge", "record_result")

    def __init__(self, name: str, seed: str) -> None:
        super().__init__(name, seed)
        self._supply = MeanRevertingNoise(8.0, 0.06, 30.0, self.rng)
        self._gas = Lag(0.5, 25.0, self.rng, 0.04)
        self._gauge = Lag(ATMOSPHERE, 1.5, self.rng)
        self._cylinder = self.rng.uniform(12.0, 44.0)
        self._record = ("", 0.0, NONE)
        self._draw()
        self.run(0.0)

    def begin(self) -> None:
        self._draw()

    def _draw(self) -> None:
        """Draw the circuit: its time constant, its moisture and its leak."""
        luck = self.rng.random()
        self._tau = self.rng.uniform(30.0, 36.0)
        self._dry = self.rng.uniform(900.0, 1200.0) if luck < WET else self.rng.uniform(250.0, 360.0)
        self._leak = self.rng.uniform(9.0, 40.0) if WET < luck < LEAKY else max(0.4, self.rng.gauss(1.8, 0.4))
        self._charge = self.rng.gauss(CHARGES[self.recipe], 0.25)
        self._charged = self._rise = 0.0
        self.alarms = 0
        tight = PASS if self._leak <= RISE_LIMIT else RISES
        self._result = tight if self._vacuum(PUMPING) <= VACUUM else NO_VACUUM

    def run(self, dt: float) -> None:
        """Compute vacuum and charge from the time into the cycle: exact for any step size."""
        time, phase = self.time, self.phase(ENDS)
        if phase == EVACUATE:
            self._gauge.value = self._vacuum(time - ENDS[0])
        elif phase == RISE:
            self._gauge.value = self._vacuum(PUMPING) + self._leak * (time - ENDS[1]) / 60
        elif phase in {CHARGE, SEAL}:
            self._rise = self._leak
            # a circuit that failed gets no refrigerant
            self._charged = min(self._charge, FLOW * (time - ENDS[2])) if self._result == PASS else 0.0
        else:
            self._gauge.follow(ATMOSPHERE, dt)
        if phase == RELEASE and self._record[0] != self.part:
            self._keep()
        self._gas.follow(2.5 if phase in {SEAL, RELEASE} else 0.5, dt)
        charging = phase == CHARGE and 0.0 < self._charged < self._charge
        pump = 1.2 + (0.03 * self._gauge.value if phase == EVACUATE else 0.0)
        self.signals.update(
            phase=phase,
            evacuation_time=round(min(time, ENDS[1]) - ENDS[0]) if phase >= EVACUATE else 0,
            # gauges for this range have an error of about one percent of the value
            circuit_pressure=self._gauge.value * self.rng.gauss(1.0, 0.01),
            pump_pressure=pump * self.rng.gauss(1.0, 0.01),
            pressure_rise=self._rise,
            charge_target=CHARGES[self.recipe],
            charge_weight=self._charged,
            refrigerant_pressure=self._supply.step(dt) - (0.6 if charging else 0.0),
            cylinder_weight=self._cylinder,
            gas_concentration=max(0.0, self._gas.read()),
            record_serial_number=self._record[0],
            record_charge=self._record[1],
            record_result=self._record[2],
            vacuum_pump=phase == EVACUATE,
            charge_valve=charging,
        )

    def judge(self) -> bool:
        """Pass a refrigerator that reached and kept its vacuum, and got its charge."""
        return self._record[2] == PASS and super().judge()

    def _vacuum(self, time: float) -> float:
        """Return the pressure in the circuit after `time` seconds of pumping."""
        air, outgassing = math.exp(-time / self._tau), 400.0 * math.exp(-time / self._dry)
        return 4.0 + (ATMOSPHERE - 4.0) * air + outgassing * (1 - air)

    def _keep(self) -> None:
        """Keep the record of this serial number, and change a cylinder that is nearly empty."""
        self._record = (self.part, self._charged, self._result)
        self.alarms = self._result - PASS
        self._cylinder = FULL if self._cylinder < EMPTY else self._cylinder - self._charged / 1000
