"""An X-ray machine: every tyre is turned before a line detector, and its cords are inspected.

All engineering estimates. Results are numbered after OPC 40001-101: 0 undefined, 1 ok, 2 not ok.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from simulators.machines.machine import Machine
from simulators.machines.physics import Lag, MeanRevertingNoise

if TYPE_CHECKING:
    from drivers.base import Value

LOAD, CENTRE, SCAN, EVALUATE, UNLOAD = range(1, 6)
ENDS = (4.0, 6.0, 14.0, 16.0)
"""End of each phase but the last, seconds into the cycle."""

VOLTAGE, CURRENT, TURNING = 65.0, 4.5, 9.0  # kV, mA, r/min
STOP, MOST = 400.0, 450.0  # degrees after which the drive stops, and at which it is at rest
OK, NOT_OK = 1, 2
OFFSET, SPACING = 3.0, 1.80  # mm: the most that the belt may be off its centre, and that cords may be apart
BY_EYE = ("open_splice", "foreign_body", "bead_gap")
"""Defects without a measured value."""


class XrayMachine(Machine):
    """A cabin with one tube; a tyre with any defect is rejected."""

    cycle: ClassVar[float] = 20.0
    spread: ClassVar[float] = 0.01
    scrap: ClassVar[float] = 0.008
    power_idle: ClassVar[float] = 1.5
    power_run: ClassVar[float] = 4.0
    serial: ClassVar[str] = "T"
    takes: ClassVar[str] = "tyre"
    makes: ClassVar[str] = "tyre"
    recipes: ClassVar[tuple[str, ...]] = ("195-65R15", "205-60R15")
    changeover: ClassVar[float] = 5.0  # another program

    def __init__(self, name: str, seed: str) -> None:
        super().__init__(name, seed)
        self._voltage = Lag(0.0, 0.3, self.rng, 0.15)
        self._current = Lag(0.0, 0.4, self.rng, 0.02)
        self._tube = Lag(40.0, 300.0, self.rng, 0.1)
        self._speed = Lag(0.0, 0.4, self.rng, 0.02, still=0.02)
        self._background = MeanRevertingNoise(0.11, 0.008, 120.0, self.rng)
        self._angle = 0.0
        self._defect = ""
        self._found: dict[str, Value] = {}  # in this tyre; the signals show the last one evaluated
        self.signals.update(
            result=0, defect_class="", belt_offset=0.0, cord_spacing=0.0, image_id="", result_serial_number=""
        )
        self.run(0.0)

    def begin(self) -> None:
        self._angle = 0.0
        offset, spacing = self.rng.gauss(0.2, 0.9), self.rng.gauss(1.45, 0.1)
        self._defect = "none" if super().judge() else self.rng.choice(BY_EYE)
        if abs(offset) > OFFSET:
            self._defect = "belt_offset"
        elif spacing > SPACING:
            self._defect = "cord_spacing"
        self._found = {
            "result": OK if self._defect == "none" else NOT_OK,
            "defect_class": self._defect,
            "belt_offset": offset,
            "cord_spacing": spacing,
            "image_id": f"{self.name.upper()}-{self.cycles + 1:08d}",
            "result_serial_number": self.part,
        }

    def judge(self) -> bool:
        """Reject a tyre with any defect."""
        return self._defect == "none"

    def run(self, dt: float) -> None:
        """Turn the tyre in the beam, then show the result."""
        phase = self.phase(ENDS)
        scanning = phase == SCAN
        voltage = self._voltage.follow(VOLTAGE if scanning else 0.0, dt)
        current = self._current.follow(CURRENT if scanning else 0.0, dt)
        turning = scanning and self._angle < STOP
        speed = self._speed.follow(TURNING if turning else 0.0, dt)
        self._angle = min(MOST, self._angle + speed * 6.0 * dt)
        self._tube.follow(58.0 if scanning else 28.0, dt)
        dose = self._background.step(dt) + (0.06 if scanning else 0.0)
        if phase == UNLOAD:
            self.signals.update(self._found)
            self.alarms = int(self._found["result"] == NOT_OK)
        self.signals.update(
            phase=phase,
            tube_voltage=max(0.0, self._voltage.read()) if scanning else voltage,
            tube_current=max(0.0, self._current.read()) if scanning else current,
            tube_temperature=self._tube.read(),
            rotation_speed=max(0.0, self._speed.read()) if turning else speed,
            rotation_angle=self._angle,
            dose_rate=max(0.0, self.rng.gauss(dose, 0.01)),
            xray_on=scanning,
            door_closed=phase in {CENTRE, SCAN, EVALUATE},
        )
