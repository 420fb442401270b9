"""An internal mixer: rubber, filler and oil become a batch of compound in four minutes.

The batch is heated by the rotors and cooled by the chamber's walls. The rotors' speed controls the temperature
of its last stage: 150-155 degrees for silica (it has to react with its silane), less for carbon
black. The stages follow published laboratory procedures; size and time constants are engineering estimates.
"""

from __future__ import annotations

import math
from typing import ClassVar

from simulators.machines.machine import Machine
from simulators.machines.physics import Lag, MeanRevertingNoise

CHARGE, MIX, SWEEP, FINISH, DUMP = range(1, 6)
ENDS = (25.0, 95.0, 108.0, 218.0)
"""End of each stage but the last, seconds into the cycle."""

RECIPES = {"CB-SIDE-03": (122.0, 23.0), "SIL-TREAD-07": (152.0, 42.0)}
"""Recipe -> temperature that the batch is dumped at, and the approximate speed in r/min that keeps it."""
TOLERANCE = 6.0
SPEED = {CHARGE: 35.0, MIX: 45.0, SWEEP: 25.0, DUMP: 25.0}  # r/min, where it is not controlled
RAM = {MIX: 4.5, FINISH: 5.2}  # bar
CHAMBER = 370.0 * 1.16  # litres x density: kg of compound that would fill it
COOLING, HEAT_CAPACITY, FRICTION = 3.0, 590.0, 0.8
"""kW/K through the walls, kJ/K of a batch, share of the rotors' power that heats it."""
ELSE = {0: (5.0, 600.0), CHARGE: (-14.0, 12.0), DUMP: (30.0, 25.0)}
"""Phase without a whole batch -> K above the water that the probe goes to, and how fast; rubber comes in cold."""
LOT, SHIFT = 24, 8 * 3600.0  # batches in a lot, seconds


class InternalMixer(Machine):
    """A 370-litre mixer; a batch is 320 kg."""

    cycle: ClassVar[float] = 240.0
    spread: ClassVar[float] = 0.015
    power_idle: ClassVar[float] = 35.0  # hydraulics and pumps; the rotors come on top
    power_run: ClassVar[float] = 60.0
    serial: ClassVar[str] = "B"
    recipes: ClassVar[tuple[str, ...]] = tuple(RECIPES)
    changeover: ClassVar[float] = 240.0  # a batch to clean it

    def __init__(self, name: str, seed: str) -> None:
        super().__init__(name, seed)
        self._target, self._hold = RECIPES[self.recipe]
        self._batch = Lag(45.0, HEAT_CAPACITY / COOLING, self.rng, 0.4)
        self._water = MeanRevertingNoise(40.0, 0.6, 300.0, self.rng)
        self._rotors = Lag(0.0, 2.0, self.rng, 0.1)
        self._grip = Lag(0.0, 3.0, self.rng)  # share of the rubber that the rotors grip
        self._lumps = Lag(0.0, 14.0, self.rng)  # share of the rubber that is not broken down yet
        self._ram = Lag(0.0, 1.0, self.rng, 0.03)
        self._position = Lag(1400.0, 1.2, self.rng, 1.0)
        self._fill = self._work = 0.0
        self._dumped = self._target
        self._lot = self.rng.randrange(100_000, 900_000)
        self._badges = [f"OP{self.rng.randrange(1000, 10_000)}" for _ in range(3)]
        self.run(0.0)

    def begin(self) -> None:
        self._target, self._hold = RECIPES[self.recipe]
        self._fill = min(0.775, max(0.705, self.rng.gauss(0.74, 0.01)))
        self._work = 0.0
        self._lumps.value = 1.0

    def judge(self) -> bool:
        """Reject a batch that was dumped too cold (its silica has not reacted) or too hot (it scorches)."""
        return abs(self._dumped - self._target) <= TOLERANCE and super().judge()

    def run(self, dt: float) -> None:
        """Turn the rotors, press the ram, and let friction heat the batch."""
        phase = self.phase(ENDS)
        if phase == DUMP != self.signals["phase"]:  # the door opened in this step
            self._dumped = self._batch.read()
            self.alarms = int(abs(self._dumped - self._target) > TOLERANCE)
        temperature = self._batch.value
        hold = min(60.0, max(20.0, self._hold + 2.5 * (self._target - temperature)))
        self._rotors.follow(hold if phase == FINISH else SPEED.get(phase, 0.0), dt)
        pressed = phase in RAM
        loaded = pressed or phase in {CHARGE, SWEEP}
        self._grip.follow(1.0 if pressed else 0.2 if loaded else 0.03, dt)
        self._lumps.follow(0.0, dt, 14.0 if pressed else 200.0)
        # cold rubber is stiff and lumps are stiffer: torque peaks when the ram comes down
        stiffness = math.exp((95.0 - temperature) / 95.0) * (1.0 + 0.6 * self._lumps.value)
        power = 720.0 * self._rotors.value / 40.0 * self._grip.value * stiffness
        above, tau = ELSE.get(phase, (FRICTION * power / COOLING, self._batch.tau))
        self._batch.follow(self._water.step(dt) + above, dt, tau)
        self._ram.follow(RAM.get(phase, 0.0), dt)
        self._position.follow(130.0 * self._lumps.value if pressed else 1400.0, dt)
        self.energy += power * dt / 3600
        self._work += power * dt / 3600 if loaded else 0.0
        self._sense(phase, power * max(0.0, self.rng.gauss(1.0, 0.025)))

    def _sense(self, phase: int, power: float) -> None:
        speed = max(0.0, self._rotors.read()) if phase else self._rotors.value
        lot = f"ML{self._lot + self.cycles // LOT}"
        self.supply.name_lot("compound", lot)
        self.signals.update(
            phase=phase,
            chamber_temperature=self._batch.read(),
            dump_temperature=self._dumped,
            rotor_speed=speed,
            rotor_power=power,
            rotor_torque=9.55 * power / speed if speed > 1.0 else 0.0,
            ram_pressure=max(0.0, self._ram.read()),
            ram_position=round(max(0.0, self._position.read())),
            fill_factor=100.0 * self._fill,
            batch_weight=CHAMBER * self._fill,
            batch_energy=self._work,
            cooling_water_temperature=self._water.value,
            compound_lot=lot,
            operator_badge=self._badges[int(self.clock // SHIFT) % 3],
            ram_down=phase in RAM,
            drop_door_open=phase == DUMP,
        )
