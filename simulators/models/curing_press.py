"""A tyre curing press: 13 minutes of steam, nitrogen and patience.

Phases and pressures after Tire Industry 2020-5 (steam 1.55-1.65 MPa for 1-7 min, nitrogen at 2.1 MPa or
more) and 1997-7 (mould 180 degrees, inner 208 degrees); time constants are engineering estimates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from simulators.machine import Machine
from simulators.physics import Lag, Wander, arrhenius

if TYPE_CHECKING:
    from collections.abc import Mapping

NONE, LOAD, SHAPE, STEAM, NITROGEN, EXHAUST, OPEN = range(7)
ENDS = (30.0, 60.0, 240.0, 690.0, 720.0)
"""End of each phase but the last, seconds into the cycle."""
MOULD_SET, REFERENCE, ACTIVATION = 172.0, 150.0, 90_000.0  # degrees, degrees, J/mol
CURED = 20.0
"""Equivalent minutes at the reference temperature that a tyre needs."""

INSIDE = {  # phase -> bladder pressure in bar (None: the main's) and its time constant
    SHAPE: (0.4, 4.0),
    STEAM: (None, 8.0),
    NITROGEN: (None, 10.0),
}
SETTLED, LOW = 60.0, 1.0  # the alarm: seconds into nitrogen, and bar below its main
SAG = 0.06  # bar that a main loses for each bar that it is above the bladder
LEAK, TRAP, DROP, LATE = 0.2 / 60, 15.0, 4.0, 180.0
"""What faults do: bar/s lost, K lost, bar lost, seconds that the press stays closed."""


class CuringPress(Machine):
    """Two moulds in one press, each with its bladder; the cure integral decides the quality."""

    cycle: ClassVar[float] = 780.0
    spread: ClassVar[float] = 0.005
    scrap: ClassVar[float] = 0.006
    between_stops: ClassVar[float] = 9000.0  # bladders, and what sticks in a mould
    stop: ClassVar[float] = 900.0
    power_idle: ClassVar[float] = 6.0
    power_run: ClassVar[float] = 11.0
    serial: ClassVar[str] = "GT"
    takes: ClassVar[str] = "green tyre"
    makes: ClassVar[str] = "tyre"
    recipes: ClassVar[tuple[str, ...]] = ("CURE-195-65R15",)  # a mould stays for weeks
    process_faults: ClassVar[Mapping[str, str]] = {
        "bladder_leak": "the bladder loses 0.2 bar a minute while it is shut",
        "steam_trap": "a blocked trap leaves water in the bladder: 15 K less",
        "supply_drop": "steam and nitrogen mains lose 4 bar",
        "late_opening": "the press opens three minutes late",
        "stuck_valve": "the steam valve stays shut",
    }

    def __init__(self, name: str, seed: str) -> None:
        super().__init__(name, seed)
        self._pressure = Lag(0.0, 8.0, self.rng, 0.02)
        self._bladder = Lag(150.0, 20.0, self.rng, 0.4)
        self._moulds = [Lag(MOULD_SET + self.rng.gauss(0, 0.5), 180.0, self.rng, 0.3) for _ in range(2)]
        self._offsets = [self.rng.gauss(0.0, 0.4) for _ in range(2)]  # of the moulds' controllers
        self._platens = [Lag(170.0, 240.0, self.rng, 0.2) for _ in range(2)]
        self._heating = [Wander(170.0 + self.rng.gauss(0.0, 0.5), 0.6, 400.0, self.rng) for _ in range(2)]
        self._clamp = Lag(0.0, 3.0, self.rng, 4.0)
        self._hydraulic = Lag(20.0, 2.0, self.rng, 0.5)
        self._position = Lag(1200.0, 4.0, self.rng, 0.3)
        self._steam = Wander(16.0, 0.1, 120.0, self.rng)
        self._nitrogen = Wander(22.0, 0.08, 120.0, self.rng)
        self._cure = self._lost = 0.0
        self.run(0.0)

    def begin(self) -> None:
        self._cure = self._lost = 0.0
        self.alarms = 0
        if "late_opening" in self.faults:
            self.duration += LATE

    def run(self, dt: float) -> None:
        """Fill and empty the bladder, heat the tyre, add up its cure."""
        phase = self.phase(ENDS)
        drop = DROP if "supply_drop" in self.faults else 0.0
        mains = self._steam.step(dt) - drop, self._nitrogen.step(dt) - drop
        self._inflate(phase, dt, *mains)
        mould = self._moulds[0].value
        closed, pressed = phase in {SHAPE, STEAM, NITROGEN, EXHAUST}, phase in {STEAM, NITROGEN}
        self._position.follow(0.0 if closed else 1200.0, dt)
        self._clamp.follow(1850.0 if pressed else 300.0 if closed else 0.0, dt)
        self._hydraulic.follow(140.0 if pressed else 60.0 if closed else 20.0, dt)
        cold = 25.0 if phase == LOAD else 0.0  # a green tyre at room temperature takes heat out of the mould
        for i, (mould_half, platen) in enumerate(zip(self._moulds, self._platens, strict=True)):
            platen.follow(self._heating[i].step(dt) - cold / 8, dt)
            mould_half.follow(MOULD_SET + self._offsets[i] - cold, dt)
        if pressed:
            self._cure += arrhenius((mould + self._bladder.value) / 2 - 20, REFERENCE, ACTIVATION) * dt / 60
        self._sense(phase, *mains)

    def judge(self) -> bool:
        """Reject a tyre that is not cured through."""
        return self._cure >= CURED and super().judge()

    def _inflate(self, phase: int, dt: float, steam: float, nitrogen: float) -> None:
        """Let pressure and temperature in the bladder follow what the valves let in."""
        mould = self._moulds[0].value
        wet = TRAP if "steam_trap" in self.faults else 0.0
        stuck = phase == STEAM and "stuck_valve" in self.faults
        target, tau = INSIDE.get(phase, (0.0, 6.0))
        if target is None:
            target = 0.4 if stuck else steam if phase == STEAM else nitrogen
        if phase == NITROGEN and "bladder_leak" in self.faults:
            # shut in once it is full: what leaks is not made good
            self._lost += LEAK * dt
        self._pressure.follow(max(0.0, target - self._lost if phase == NITROGEN else target), dt, tau)
        if phase == STEAM and not stuck:
            self._bladder.follow(203.0 - wet, dt, 20.0)
        elif phase in {SHAPE, STEAM}:
            self._bladder.follow(mould - 30, dt, 60.0)
        elif phase == NITROGEN:
            self._bladder.follow(mould - wet, dt, 480.0)
        else:
            self._bladder.follow(mould - 45, dt, 90.0)
        low = phase == NITROGEN and self.time > ENDS[2] + SETTLED and self._pressure.value < nitrogen - LOW
        self.alarms |= int(low)

    def _sense(self, phase: int, steam: float, nitrogen: float) -> None:
        inside = self._pressure.value
        self.signals.update(
            phase=phase,
            phase_time=round(self.elapsed) if phase else 0,
            bladder_pressure=max(0.0, self._pressure.read()),
            bladder_temperature=self._bladder.read(),
            mould_temperature_left=self._moulds[0].read(),
            mould_temperature_right=self._moulds[1].read(),
            platen_temperature_upper=self._platens[0].read(),
            platen_temperature_lower=self._platens[1].read(),
            # a main sags while its valve lets much through
            steam_supply_pressure=steam - (SAG * max(0.0, steam - inside) if phase == STEAM else 0.0),
            nitrogen_supply_pressure=nitrogen - (SAG * max(0.0, nitrogen - inside) if phase == NITROGEN else 0.0),
            clamp_force=max(0.0, self._clamp.read()),
            hydraulic_pressure=max(0.0, self._hydraulic.read()),
            mould_position=max(0.0, self._position.read()),
            cure_integral=self._cure,
            press_closed=phase in {SHAPE, STEAM, NITROGEN, EXHAUST},
            steam_valve=phase == STEAM,
            nitrogen_valve=phase == NITROGEN,
        )
