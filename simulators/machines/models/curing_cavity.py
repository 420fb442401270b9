"""A cavity of a curing press: a mould, the bladder in it with its steam trap, and the tyre between them.

Pressures and temperatures after Tire Industry 2020-5 (steam 1.55-1.65 MPa for 1-7 min, nitrogen at 2.1 MPa or
more) and 1997-7 (mould 180 degrees, inner 208 degrees); time constants are engineering estimates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulators.machines.physics import Lag, arrhenius

if TYPE_CHECKING:
    from random import Random

NONE, LOAD, SHAPE, STEAM, NITROGEN, EXHAUST, OPEN = range(7)
PRESSED = {STEAM, NITROGEN}
PRESSURE = {SHAPE: (0.4, 4.0), STEAM: (16.0, 8.0), NITROGEN: (22.0, 10.0)}
"""Phase -> bar in the bladder (steam and nitrogen: nominal pressure of the main), and time constant in seconds."""
MOULD_SET, REFERENCE, ACTIVATION = 172.0, 150.0, 90_000.0  # degrees, degrees, J/mol
COLD = 25.0
"""K by which a green tyre at room temperature cools the mould below its set point."""
LEAK, TRAP = 0.2 / 60, 15.0
"""Effects of faults: bar/s lost, K lost."""
SENSED = ("bladder_pressure", "bladder_temperature", "mould_temperature", "cure_integral")


class Cavity:
    """See the module. `cure` is in equivalent minutes at the reference temperature."""

    def __init__(self, rng: Random) -> None:
        self.pressure = Lag(0.0, 8.0, rng, 0.02)
        self._bladder = Lag(150.0, 20.0, rng, 0.4)
        self._mould = Lag(MOULD_SET + rng.gauss(0, 0.5), 180.0, rng, 0.3)
        self._set = MOULD_SET + rng.gauss(0.0, 0.4)  # of the mould's controller
        self.cure = self._lost = 0.0

    def begin(self) -> None:
        """Take another tyre."""
        self.cure = self._lost = 0.0

    def run(self, phase: int, dt: float, supply: float, *, leaks: bool, wet: bool) -> None:
        """Fill the bladder through the valves, heat the tyre, integrate its cure.

        `supply` is in bar; `leaks`: the bladder leaks; `wet`: its trap is blocked, so that water stays inside.
        """
        if phase == NITROGEN and leaks:
            self._lost += LEAK * dt  # the valve closes when it is full: a leak is not compensated
        self.pressure.follow(max(0.0, supply - self._lost), dt, PRESSURE.get(phase, (0.0, 6.0))[1])
        mould, lost = self._mould.value, TRAP if wet else 0.0
        if phase == STEAM and supply > PRESSURE[SHAPE][0]:
            self._bladder.follow(203.0 - lost, dt, 20.0)
        elif phase in {SHAPE, STEAM}:
            self._bladder.follow(mould - 30, dt, 60.0)
        elif phase == NITROGEN:
            self._bladder.follow(mould - lost, dt, 480.0)
        else:
            self._bladder.follow(mould - 45, dt, 90.0)
        self._mould.follow(self._set - (COLD if phase == LOAD else 0.0), dt)
        if phase in PRESSED:
            self.cure += arrhenius((mould + self._bladder.value) / 2 - 20, REFERENCE, ACTIVATION) * dt / 60

    def sense(self) -> tuple[float, float, float, float]:
        """Return the values of the sensors, in the order of `SENSED`."""
        return max(0.0, self.pressure.read()), self._bladder.read(), self._mould.read(), self.cure
