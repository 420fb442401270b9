"""A pressure-decay leak test of a refrigerator's cooling circuit: fill, stabilise, test, exhaust.

A leak of Q shows as dP/dt = -Q x Patm / V; before that can be measured, the gas that filling warmed up has to
cool down (adiabatic stabilisation, 3-8 s). After LM-AN-001; what circuits leak is an engineering estimate.
"""

from __future__ import annotations

import math
from typing import ClassVar

from simulators.machines.machine import Machine
from simulators.machines.physics import MeanRevertingNoise

NONE, CONNECT, FILL, STABILISE, TEST, EXHAUST, RELEASE = range(7)
ENDS = (5.0, 11.0, 38.0, 53.0, 58.0)
"""End of the phases CONNECT to EXHAUST, seconds into the cycle."""
PASS, LEAK, GROSS = 1, 2, 3
TEST_PRESSURE, ATMOSPHERE = 600_000.0, 101_325.0  # Pa, the first above the second
VOLUME = 480.0  # cm3
LIMIT = 1.0  # cm3/min at atmospheric pressure: the highest leak rate of a good circuit
WARMTH = 0.004  # share of the pressure that is lost when the gas has cooled down
OPEN_JOINTS, PINHOLES = 0.0015, 0.0125
"""Share of circuits with a joint that was never brazed, and with a hole too small to be seen."""
FULL_SCALE = 1000.0  # Pa, of the differential sensor


class LeakTest(Machine):
    """One circuit per cycle; the leak rate decides the quality."""

    cycle: ClassVar[float] = 60.0
    spread: ClassVar[float] = 0.003
    scrap: ClassVar[float] = 0.0
    power_idle: ClassVar[float] = 0.4
    power_run: ClassVar[float] = 0.9
    serial: ClassVar[str] = "CU"
    takes: ClassVar[str] = "circuit"
    makes: ClassVar[str] = "circuit"
    stores: ClassVar[str] = "circuit"
    changeover: ClassVar[float] = 30.0
    recipes: ClassVar[tuple[str, ...]] = ("CIRCUIT-215", "CIRCUIT-310")

    def __init__(self, name: str, seed: str) -> None:
        super().__init__(name, seed)
        self._cooling = self.rng.uniform(3.0, 4.2)  # seconds; the tester's own hoses and volume
        self._supply = MeanRevertingNoise(820.0, 8.0, 40.0, self.rng)
        self._ambient = MeanRevertingNoise(26.0, 0.6, 900.0, self.rng)
        self._since_master = self.rng.randrange(400)
        self._draw()
        self.run(0.0)

    def begin(self) -> None:
        self._draw()

    def _draw(self) -> None:
        """Draw the circuit: most leak less than can be measured."""
        luck = self.rng.random()
        if luck < OPEN_JOINTS:
            leak = self.rng.uniform(2000.0, 6000.0)
        elif luck < OPEN_JOINTS + PINHOLES:
            leak = self.rng.lognormvariate(1.4, 0.8)
        else:
            leak = abs(self.rng.gauss(0.05, 0.04))
        # dP/dt per second as a fraction of the pressure: a big leak slows down as the circuit empties
        self._decay = leak / 60 * ATMOSPHERE / VOLUME / TEST_PRESSURE
        self._difference = self._rate = 0.0
        self._result = NONE
        self.alarms = 0

    def run(self, dt: float) -> None:
        """Compute the pressure from the time into the test: exact for any step size."""
        time, phase = self.time, self.phase(ENDS)
        pressure = self._pressure(phase, time)
        if phase == TEST:
            self._difference = self._pressure(TEST, ENDS[2]) - pressure + self.rng.gauss(0.0, 0.4)
        elif phase in {EXHAUST, RELEASE} and self._result == NONE:
            self._evaluate()
        self.signals.update(
            phase=phase,
            test_pressure=(pressure + self.rng.gauss(0.0, 25.0)) / 1000,
            differential_pressure=min(FULL_SCALE, self._difference),
            leak_rate=self._rate,
            leak_limit=LIMIT,
            result=self._result,
            passed=self._result == PASS,
            failed=self._result in {LEAK, GROSS},
            supply_pressure=self._supply.step(dt) - (60.0 if phase == FILL else 0.0),
            ambient_temperature=self._ambient.step(dt),
            test_volume=round(VOLUME),
            tests_since_master=self._since_master,
            program="P07-N2-600",
            fill_valve=phase == FILL,
            exhaust_valve=phase in {NONE, EXHAUST, RELEASE},
        )

    def judge(self) -> bool:
        """Pass a circuit whose leak rate passed the test."""
        return self._result == PASS

    def _pressure(self, phase: int, time: float) -> float:
        """Return the pressure in the circuit, Pa above the atmosphere."""
        if phase == FILL:
            return TEST_PRESSURE * -math.expm1(-(time - ENDS[0]) / 0.9)
        if phase in {STABILISE, TEST}:
            closed = time - ENDS[1]
            cooled = WARMTH * -math.expm1(-closed / self._cooling)
            return TEST_PRESSURE * (1 - cooled) * math.exp(-closed * self._decay)
        if phase == EXHAUST:
            return self._pressure(TEST, ENDS[3]) * math.exp(-(time - ENDS[3]) / 0.7)
        return 0.0

    def _evaluate(self) -> None:
        """Convert the pressure lost during the test to a leak rate."""
        lost = self._pressure(TEST, ENDS[2]) - self._pressure(TEST, ENDS[3]) + self.rng.gauss(0.0, 0.4)
        gross = self._pressure(TEST, ENDS[2]) < 0.97 * TEST_PRESSURE or lost > FULL_SCALE
        self._difference = lost
        self._rate = min(99.99, lost / (ENDS[3] - ENDS[2]) * 60 * VOLUME / ATMOSPHERE)
        self._result = GROSS if gross else LEAK if self._rate > LIMIT else PASS
        self._since_master += 1
        self.alarms = self._result - PASS
