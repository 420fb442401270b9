"""A uniformity and balance machine: a cured tyre turns against a loaded drum and is graded.

60 r/min after EP 2626684; how the results are distributed after a published synthetic data set; times and
limits of the grades are engineering estimates for a passenger tyre.
"""

from __future__ import annotations

import math
from typing import ClassVar

from simulators.machines.machine import Machine
from simulators.machines.physics import Lag

LOAD, INFLATE, SPIN_UP, CLOCKWISE, COUNTER, DEFLATE, UNLOAD = range(1, 8)
ENDS = (3.0, 5.0, 6.5, 11.5, 17.0, 18.5)
"""End of each phase but the last, seconds into the cycle."""

SPEED = {SPIN_UP: 60.0, CLOCKWISE: 60.0, COUNTER: -60.0}  # r/min
INFLATION, PRELOAD = 2.0, 4600.0  # bar, N
LIMITS: dict[str, dict[str, float]] = {
    "A": {
        "radial_force_variation": 70,
        "lateral_force_variation": 50,
        "conicity": 50,
        "static_unbalance": 35,
    },
    "B": {
        "radial_force_variation": 100,
        "lateral_force_variation": 75,
        "conicity": 75,
        "static_unbalance": 50,
    },
}
"""Grade, the best first -> the most that it allows, in N and g.cm."""

RESULTS = (
    "radial_force_variation", "radial_first_harmonic", "lateral_force_variation", "conicity",
    "static_unbalance", "radial_runout",
)  # fmt: skip


class UniformityMachine(Machine):
    """One spindle; a tyre of grade C is rejected."""

    cycle: ClassVar[float] = 22.0
    spread: ClassVar[float] = 0.01
    power_idle: ClassVar[float] = 3.0
    power_run: ClassVar[float] = 14.0
    serial: ClassVar[str] = "T"
    takes: ClassVar[str] = "tyre"
    makes: ClassVar[str] = "tyre"
    draws: ClassVar[str] = "tyre"
    recipes: ClassVar[tuple[str, ...]] = ("195-65R15", "205-60R15")
    changeover: ClassVar[float] = 20.0  # the rims change automatically

    def __init__(self, name: str, seed: str) -> None:
        super().__init__(name, seed)
        self._speed = Lag(0.0, 0.4, self.rng, 0.05, still=0.1)
        self._inflation = Lag(0.0, 0.4, self.rng, 0.004)
        self._force = Lag(0.0, 0.5, self.rng, 3.0, still=1.0)
        self._angle = 0.0
        self._results = dict.fromkeys(RESULTS, 0.0)  # of this tyre; the signals show the last one measured
        self.signals.update(self._results, grade="", result_serial_number="")
        self.run(0.0)

    def begin(self) -> None:
        radial = 45.0 * math.exp(self.rng.gauss(0.0, 0.3))
        found = (
            radial,
            radial * self.rng.uniform(0.5, 0.75),
            25.0 * math.exp(self.rng.gauss(0.0, 0.3)),
            self.rng.gauss(4.0, 18.0),
            16.0 * math.exp(self.rng.gauss(0.0, 0.42)),
            0.011 * radial + self.rng.uniform(0.05, 0.25),
        )
        self._results = dict(zip(RESULTS, found, strict=True))

    def _grade(self) -> str:
        """Return the best grade whose limits this tyre keeps."""
        for grade, limits in LIMITS.items():
            if all(abs(self._results[name]) <= limit for name, limit in limits.items()):
                return grade
        return "C"

    def judge(self) -> bool:
        """Reject grade C."""
        return self._grade() != "C"

    def run(self, dt: float) -> None:
        """Inflate, turn both ways under load, show the result."""
        phase = self.phase(ENDS)
        turning = phase in SPEED
        speed = self._speed.follow(SPEED.get(phase, 0.0), dt)
        self._inflation.follow(INFLATION if turning or phase == INFLATE else 0.0, dt)
        self._force.follow(PRELOAD if turning else 0.0, dt)
        self._angle += speed / 60 * dt * 2 * math.pi
        ripple = self._results["radial_force_variation"] / 2 * math.sin(self._angle)
        if phase >= DEFLATE:
            self.signals.update(self._results, grade=self._grade(), result_serial_number=self.part)
            self.alarms = int(self._grade() == "C")
        self.signals.update(
            phase=phase,
            spindle_speed=self._speed.read() if turning else speed,
            inflation_pressure=max(0.0, self._inflation.read()),
            load_force=max(0.0, self._force.read() + ripple) if turning else self._force.value,
            barcode_read=phase > LOAD,
        )
