"""An electrical safety tester: earth bond, insulation, high voltage, in ten seconds.

Earth bond with at least 10 A and at most 0.1 Ohm after EN 50106; the other limits are engineering estimates.
"""

from __future__ import annotations

import math
from bisect import bisect
from typing import ClassVar

from simulators.machines.machine import Machine
from simulators.machines.physics import MeanRevertingNoise

NONE, CONTACT, EARTH, INSULATION, HIPOT, RELEASE = range(6)
ENDS = (1.0, 4.0, 6.0, 9.0)
"""End of the phases CONTACT to HIPOT, seconds into the cycle."""
PASS, FAIL_EARTH, FAIL_INSULATION, FAIL_HIPOT = 1, 2, 3, 4
FAULTS = (0.004, 0.007, 0.010)
"""Chance of a loose earth, a damp terminal and a pinched wire, each added to those before it."""
EARTH_LIMIT, INSULATION_LIMIT, LEAKAGE_LIMIT = 0.1, 2.0, 0.75  # Ohm, MOhm, mA
EARTH_CURRENT, INSULATION_VOLTAGE, HIPOT_VOLTAGE = 12.0, 500.0, 1250.0
RAMP = 0.8
"""Seconds in which the high voltage rises."""
OPEN_CIRCUIT = 999.0  # MOhm, the highest that the tester shows


class ElectricalSafety(Machine):
    """One appliance a cycle; it passes when all three tests pass."""

    cycle: ClassVar[float] = 10.0
    spread: ClassVar[float] = 0.01
    scrap: ClassVar[float] = 0.0
    power_idle: ClassVar[float] = 0.1
    power_run: ClassVar[float] = 0.5
    serial: ClassVar[str] = "RF"
    takes: ClassVar[str] = "appliance"
    makes: ClassVar[str] = "appliance"
    draws: ClassVar[str] = "circuit"
    recipes: ClassVar[tuple[str, ...]] = ("BCD-215W", "BCD-310W")

    def __init__(self, name: str, seed: str) -> None:
        super().__init__(name, seed)
        self._mains = MeanRevertingNoise(228.0, 1.2, 60.0, self.rng)
        self._contacts = self.rng.randrange(3_000, 60_000)
        self._draw()
        self.run(0.0)

    def begin(self) -> None:
        self._draw()
        self._contacts += 1

    def _draw(self) -> None:
        """Draw the appliance: a few have a loose earth, a damp terminal or a pinched wire."""
        fault = FAIL_EARTH + bisect(FAULTS, self.rng.random())
        self._earth = self.rng.triangular(0.025, 0.085, 0.045)
        self._insulation = self.rng.lognormvariate(5.2, 0.35)
        self._leakage = self.rng.triangular(0.22, 0.55, 0.36)
        if fault == FAIL_EARTH:
            self._earth = self.rng.uniform(0.11, 0.6)
        elif fault == FAIL_INSULATION:
            self._insulation = self.rng.uniform(0.3, 1.8)
        elif fault == FAIL_HIPOT:
            self._leakage = self.rng.uniform(0.8, 3.5)
        self._shown = [0.0, 0.0, 0.0]  # earth bond, insulation, leakage, as measured
        self._result = NONE
        self.alarms = 0

    def run(self, dt: float) -> None:
        """Run the step for the time in the cycle; each measurement stays until the next appliance."""
        time, step = self.time, self.phase(ENDS)
        current = insulation_voltage = voltage = leakage = 0.0
        if step == EARTH:
            current = EARTH_CURRENT * -math.expm1(-(time - ENDS[0]) / 0.15) + self.rng.gauss(0.0, 0.01)
            self._shown[0] = self._earth + self.rng.gauss(0.0, 0.0004)
        elif step == INSULATION:
            # capacitances charge first, so that the resistance seems to grow
            charged = -math.expm1(-(time - ENDS[1]) / 0.3)
            insulation_voltage = INSULATION_VOLTAGE * charged
            self._shown[1] = min(OPEN_CIRCUIT, self._insulation * charged)
        elif step == HIPOT:
            voltage = HIPOT_VOLTAGE * min(1.0, (time - ENDS[2]) / RAMP) + self.rng.gauss(0.0, 0.8)
            leakage = max(0.0, self._leakage * voltage / HIPOT_VOLTAGE + self.rng.gauss(0.0, 0.002))
            self._shown[2] = max(self._shown[2], leakage)
        elif step == RELEASE and self._result == NONE:
            self._result = self._evaluate()
            self.alarms = 1 << self._result - FAIL_EARTH if self._result != PASS else 0
        self.signals.update(
            step=step,
            earth_current=max(0.0, current),
            earth_voltage=max(0.0, current * self._earth),
            earth_resistance=self._shown[0],
            insulation_voltage=insulation_voltage,
            insulation_resistance=self._shown[1],
            hipot_voltage=max(0.0, voltage),
            leakage_current=leakage,
            leakage_current_peak=self._shown[2],
            result=self._result,
            earth_passed=self._result not in {NONE, FAIL_EARTH},
            insulation_passed=self._result not in {NONE, FAIL_INSULATION},
            hipot_passed=self._result not in {NONE, FAIL_HIPOT},
            high_voltage_on=step in {INSULATION, HIPOT},
            probe_contacts=self._contacts,
            mains_voltage=self._mains.step(dt),
        )

    def judge(self) -> bool:
        """Pass an appliance that passed all tests."""
        return self._result == PASS

    def _evaluate(self) -> int:
        if self._shown[0] > EARTH_LIMIT:
            return FAIL_EARTH
        if self._shown[1] < INSULATION_LIMIT:
            return FAIL_INSULATION
        return FAIL_HIPOT if self._shown[2] > LEAKAGE_LIMIT else PASS
