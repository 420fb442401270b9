"""A tyre curing press with two moulds: 13 minutes of steam and nitrogen.

What happens in each mould is in `curing_cavity`; the press opens and closes both, and lets in steam and nitrogen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from simulators.machines.machine import Machine
from simulators.machines.models.curing_cavity import (
    COLD,
    EXHAUST,
    LOAD,
    NITROGEN,
    PRESSED,
    PRESSURE,
    SENSED,
    SHAPE,
    STEAM,
    Cavity,
)
from simulators.machines.physics import Lag, MeanRevertingNoise

if TYPE_CHECKING:
    from collections.abc import Mapping

ENDS = (30.0, 60.0, 240.0, 690.0, 720.0)
"""End of each phase but the last, seconds into the cycle: load, shape, steam, nitrogen, exhaust, open."""
CLOSED = {SHAPE, EXHAUST, *PRESSED}
CURED = 20.0
"""Equivalent minutes at the reference temperature that a tyre needs."""
GOOD, UNDERCURED, BLEMISHED = 1, 2, 3
SETTLED, LOW = 60.0, 1.0  # the alarm: seconds into nitrogen, and bar below its main
SAG = 0.06  # bar that a main loses for each bar that it is above the bladders
DROP, LATE = 4.0, 180.0
"""Effects of faults: bar lost, seconds that the press stays closed."""


class CuringPress(Machine):
    """Two moulds in one press; the cure integral of each decides the quality of its tyre."""

    cycle: ClassVar[float] = 780.0
    spread: ClassVar[float] = 0.005
    scrap: ClassVar[float] = 0.006
    between_stops: ClassVar[float] = 9000.0  # bladders, and rubber that sticks in a mould
    stop: ClassVar[float] = 900.0
    power_idle: ClassVar[float] = 6.0
    power_run: ClassVar[float] = 11.0
    serial: ClassVar[str] = "GT"
    takes: ClassVar[str] = "green tyre"
    makes: ClassVar[str] = "tyre"
    draws: ClassVar[str] = "green tyre"
    stores: ClassVar[str] = "tyre"
    cavities: ClassVar[int] = 2
    recipes: ClassVar[tuple[str, ...]] = ("CURE-195-65R15",)  # a mould stays for weeks
    process_faults: ClassVar[Mapping[str, str]] = {
        "bladder_leak": "the left bladder loses 0.2 bar a minute while it is shut",
        "bladder_leak_right": "the right bladder loses 0.2 bar a minute while it is shut",
        "steam_trap": "a blocked trap leaves water in the left bladder: 15 K less",
        "steam_trap_right": "a blocked trap leaves water in the right bladder: 15 K less",
        "supply_drop": "steam and nitrogen mains lose 4 bar",
        "late_opening": "the press opens three minutes late",
        "stuck_valve": "the steam valve stays shut",
    }

    def __init__(self, name: str, seed: str) -> None:
        super().__init__(name, seed)
        self._sides = {"left": Cavity(self.rng), "right": Cavity(self.rng)}
        self._platens = [Lag(170.0, 240.0, self.rng, 0.2) for _ in range(2)]
        self._heating = [MeanRevertingNoise(170.0 + self.rng.gauss(0.0, 0.5), 0.6, 400.0, self.rng) for _ in range(2)]
        self._clamp = Lag(0.0, 3.0, self.rng, 4.0)
        self._hydraulic = Lag(20.0, 2.0, self.rng, 0.5)
        self._position = Lag(1200.0, 4.0, self.rng, 0.3)
        self._steam = MeanRevertingNoise(PRESSURE[STEAM][0], 0.1, 120.0, self.rng)
        self._nitrogen = MeanRevertingNoise(PRESSURE[NITROGEN][0], 0.08, 120.0, self.rng)
        for side in self._sides:
            self.signals |= {f"serial_number_{side}": "", f"result_{side}": 0, f"result_serial_number_{side}": ""}
        self.run(0.0)

    def begin(self) -> None:
        self.alarms = 0
        for side, part in zip(self._sides, self.parts, strict=True):
            self._sides[side].begin()
            self.signals[f"serial_number_{side}"] = part.serial
        if "late_opening" in self.faults:
            self.duration += LATE

    def verdicts(self) -> list[bool]:
        """Reject a tyre that is not cured through, and a few for their looks."""
        good = []
        for (side, cavity), part in zip(self._sides.items(), self.parts, strict=True):
            result = UNDERCURED if cavity.cure < CURED else GOOD if self.judge() else BLEMISHED
            self.signals |= {f"result_{side}": result, f"result_serial_number_{side}": part.serial}
            self.signals[f"serial_number_{side}"] = ""
            good.append(result == GOOD)
        return good

    def run(self, dt: float) -> None:
        """Move the press, heat its platens, let steam and nitrogen into both bladders."""
        phase = self.phase(ENDS)
        closed, pressed = phase in CLOSED, phase in PRESSED
        self._position.follow(0.0 if closed else 1200.0, dt)
        self._clamp.follow(1850.0 if pressed else 300.0 if closed else 0.0, dt)
        self._hydraulic.follow(140.0 if pressed else 60.0 if closed else 20.0, dt)
        for platen, heating in zip(self._platens, self._heating, strict=True):
            platen.follow(heating.step(dt) - (COLD / 8 if phase == LOAD else 0.0), dt)
        drop = DROP if "supply_drop" in self.faults else 0.0
        steam, nitrogen = self._steam.step(dt) - drop, self._nitrogen.step(dt) - drop
        let_in = SHAPE if phase == STEAM and "stuck_valve" in self.faults else phase
        supply = {SHAPE: PRESSURE[SHAPE][0], STEAM: steam, NITROGEN: nitrogen}.get(let_in, 0.0)
        late = phase == NITROGEN and self.time > ENDS[2] + SETTLED
        inside = 0.0
        for alarm, (side, cavity) in enumerate(self._sides.items()):
            which = "" if side == "left" else f"_{side}"
            leaks, wet = (f"{fault}{which}" in self.faults for fault in ("bladder_leak", "steam_trap"))
            cavity.run(phase, dt, supply, leaks=leaks, wet=wet)
            self.alarms |= int(late and cavity.pressure.value < nitrogen - LOW) << alarm
            inside += cavity.pressure.value / 2
            self.signals |= zip((f"{name}_{side}" for name in SENSED), cavity.sense(), strict=True)
        self.signals.update(
            phase=phase,
            phase_time=round(self.elapsed) if phase else 0,
            platen_temperature_upper=self._platens[0].read(),
            platen_temperature_lower=self._platens[1].read(),
            # the pressure of a main falls while much flows through its valve
            steam_supply_pressure=steam - (SAG * max(0.0, steam - inside) if phase == STEAM else 0.0),
            nitrogen_supply_pressure=nitrogen - (SAG * max(0.0, nitrogen - inside) if phase == NITROGEN else 0.0),
            clamp_force=max(0.0, self._clamp.read()),
            hydraulic_pressure=max(0.0, self._hydraulic.read()),
            mould_position=max(0.0, self._position.read()),
            press_closed=closed,
            steam_valve=phase == STEAM,
            nitrogen_valve=phase == NITROGEN,
        )
