"""A tyre building machine: ply, beads, belt and tread become a green tyre in 55 seconds.

Drum vibration and ply tension after a published synthetic data set; phases and the rest are engineering
estimates for a single-stage machine and a passenger tyre.
"""

from __future__ import annotations

from typing import ClassVar

from simulators.machines.machine import Machine
from simulators.machines.physics import Lag, MeanRevertingNoise

LINER, PLY, BEADS, SHAPE, TREAD, STITCH, UNLOAD = range(1, 8)
ENDS = (8.0, 18.0, 22.0, 30.0, 42.0, 50.0)
"""End of each phase but the last, seconds into the cycle."""

DRUM = {LINER: 25.0, PLY: 30.0, TREAD: 20.0, STITCH: 60.0}  # r/min
SHAPING = {SHAPE: 1.2, TREAD: 0.8, STITCH: 0.8}  # bar
FLAT, SHAPED = 420.0, 190.0  # mm between the beads
TENSION, SLACK = 200.0, 35.0  # N while ply is drawn, and while it waits
WEIGHT, OFF = 9.5, 0.01  # kg of a green tyre, and its tolerance as a fraction
OVERLAP, OPEN, HEAVY = 4.0, 2.0, 6.0  # mm of the ply's splice: wanted, least and most
BAD_SPLICE = {2, 3}
LOTS = {"ply": ("PL", 60), "tread": ("TR", 40), "bead": ("BD", 150)}
"""Component -> prefix of its lots, and tyres per lot."""
SHIFT = 8 * 3600.0


class TireBuildingMachine(Machine):
    """One drum and its servers; a splice detector after the ply, a scale behind the drum."""

    cycle: ClassVar[float] = 55.0
    spread: ClassVar[float] = 0.04  # an operator loads it
    scrap: ClassVar[float] = 0.003
    power_idle: ClassVar[float] = 4.0
    power_run: ClassVar[float] = 18.0
    serial: ClassVar[str] = "GT"
    makes: ClassVar[str] = "green tyre"
    stores: ClassVar[str] = "green tyre"
    recipes: ClassVar[tuple[str, ...]] = ("GT-195-65R15", "GT-205-60R15")
    changeover: ClassVar[float] = 420.0  # drum and components

    def __init__(self, name: str, seed: str) -> None:
        super().__init__(name, seed)
        self._drum = Lag(0.0, 0.8, self.rng, 0.1, still=0.2)
        self._bearing = MeanRevertingNoise(1.0, 0.12, 1800.0, self.rng)
        self._width = Lag(FLAT, 1.2, self.rng, 0.1)
        self._ply = Lag(SLACK, 0.5, self.rng, 1.5)
        self._brake = MeanRevertingNoise(TENSION, 4.0, 90.0, self.rng)
        self._shaping = Lag(0.0, 1.2, self.rng, 0.006)
        self._stitcher = Lag(0.0, 0.5, self.rng, 0.02)
        self._overlap = self._weight = 0.0  # of this tyre
        self._splice = (0.0, 0)  # last seen: overlap, result
        self._weighed = (0.0, "")
        self._lots = {part: self.rng.randrange(100_000, 900_000) for part in LOTS}
        self._made = dict.fromkeys(LOTS, "")  # lots of this plant in use; others come from elsewhere
        self._badges = [f"OP{self.rng.randrange(1000, 10_000)}" for _ in range(3)]
        self.run(0.0)

    def begin(self) -> None:
        self._overlap = max(0.0, self.rng.gauss(OVERLAP, 0.65))
        self._weight = WEIGHT * self.rng.gauss(1.0, 0.0025)
        for part, (_, tyres) in LOTS.items():
            if not self._made[part] or self.cycles % tyres == 0:
                self._made[part] = self.supply.lot(part)

    def run(self, dt: float) -> None:
        """Turn the drum, draw the ply, blow the carcass up, stitch the tread."""
        phase = self.phase(ENDS)
        self._drum.follow(DRUM.get(phase, 0.0), dt)
        self._bearing.step(dt)
        brake = self._brake.step(dt)
        self._ply.follow(brake if phase == PLY else SLACK, dt)
        self._width.follow(SHAPED if phase in SHAPING else FLAT, dt)
        self._shaping.follow(SHAPING.get(phase, 0.0), dt)
        self._stitcher.follow(3.0 if phase == STITCH else 0.0, dt)
        self.alarms = int(self._splice[1] in BAD_SPLICE)
        if phase == BEADS:
            self._splice = (self._overlap, self._spliced())
        if phase == UNLOAD:
            self._weighed = (self._weight, self.part)
        self._sense(phase)

    def _spliced(self) -> int:
        """Return the result of the splice detector: 1 ok, 2 open, 3 heavy."""
        return 2 if self._overlap < OPEN else 3 if self._overlap > HEAVY else 1

    def judge(self) -> bool:
        """Reject a tyre with a bad splice, or with a weight out of tolerance."""
        return self._spliced() == 1 and abs(self._weight / WEIGHT - 1.0) <= OFF and super().judge()

    def _sense(self, phase: int) -> None:
        drum = self._drum.value
        # out of balance: with the square of the speed; the stitcher's rolls shake the drum too
        shaking = 0.15 + 1.2 * self._bearing.value * (drum / 60.0) ** 2 + 0.1 * self._stitcher.value / 3.0
        lots = {
            f"{part}_lot": self._made[part] or f"{prefix}{self._lots[part] + self.cycles // tyres}"
            for part, (prefix, tyres) in LOTS.items()
        }
        self.signals.update(
            phase=phase,
            drum_speed=max(0.0, self._drum.read()) if phase in DRUM else drum,
            drum_vibration=max(0.0, shaking + self.rng.gauss(0.0, 0.04)),
            drum_width=self._width.read(),
            ply_tension=self._ply.read(),
            shaping_pressure=max(0.0, self._shaping.read()),
            stitcher_pressure=max(0.0, self._stitcher.read()),
            splice_overlap=self._splice[0],
            splice_result=self._splice[1],
            green_tyre_weight=self._weighed[0],
            weighed_serial_number=self._weighed[1],
            operator_badge=self._badges[int(self.clock // SHIFT) % 3],
            light_curtain_clear=phase not in {BEADS, UNLOAD},  # the operator is at the drum
            **lots,
        )
