"""A cold-feed tread extruder: compound goes in as a strip and comes out as a tread, cart after cart.

Throughput after a published synthetic data set (700-850 kg/h); the rest is engineering estimate. The screw
sets the throughput, and the line's speed is trimmed slowly until the weight per metre is right.
"""

from __future__ import annotations

from typing import ClassVar

from simulators.machines.machine import Machine
from simulators.machines.physics import Lag, MeanRevertingNoise

ZONES = (70.0, 80.0, 90.0)
SCREW, PER_TURN = 26.0, 0.512  # r/min, and kg of compound a turn: 800 kg/h
WEIGHT, WIDTH = 1.15, 165.0  # kg/m and mm of the tread
GAUGE = 0.01
"""Tolerance of the weight as a fraction."""
RATED_POWER, RATED_SPEED = 220.0, 40.0
STANDSTILL = 1.0  # m/min below which the scale in the line holds its reading
LOT = 12
"""Carts per lot of compound."""


class TreadExtruder(Machine):
    """Runs without a pause while there are carts; a cart takes five minutes to fill."""

    cycle: ClassVar[float] = 300.0
    spread: ClassVar[float] = 0.01
    scrap: ClassVar[float] = 0.012
    stop: ClassVar[float] = 300.0  # to thread a new strip
    power_idle: ClassVar[float] = 12.0  # heaters, pumps, conveyors; without the screw
    power_run: ClassVar[float] = 28.0
    serial: ClassVar[str] = "TR"
    makes: ClassVar[str] = "tread"
    recipes: ClassVar[tuple[str, ...]] = ("TREAD-165A", "TREAD-165B")

    def __init__(self, name: str, seed: str) -> None:
        super().__init__(name, seed)
        self._zones = [Lag(zone, 200.0, self.rng, 0.15) for zone in ZONES]
        self._drift = [MeanRevertingNoise(zone, 0.5, 400.0, self.rng) for zone in ZONES]
        self._viscosity = MeanRevertingNoise(1.0, 0.025, 600.0, self.rng)
        self._feed = MeanRevertingNoise(1.0, 0.006, 60.0, self.rng)  # how well the strip fills the screw
        self._trim = Lag(1.0, 30.0, self.rng)
        self._screw = Lag(0.0, 6.0, self.rng, 0.05, still=0.05)
        self._line = Lag(0.0, 6.0, self.rng, 0.02, still=0.02)
        self._melt = Lag(88.0, 90.0, self.rng, 0.3)
        self._pressure = Lag(0.0, 4.0, self.rng, 0.5)
        self._weight = Lag(WEIGHT, 4.0, self.rng, 0.001)
        self._width = Lag(WIDTH, 4.0, self.rng, 0.1)
        self._length = self._off = 0.0
        self._lot = self.rng.randrange(100_000, 900_000)
        self._compound = ""  # a lot of this plant's mixers, else it comes from elsewhere
        self.run(0.0)

    def begin(self) -> None:
        self._length = self._off = 0.0
        self._compound = self.supply.lot("compound")

    def run(self, dt: float) -> None:
        """Push compound through the head, and trim the line to the weight."""
        viscosity, feed = self._viscosity.step(dt), self._feed.step(dt)
        trim = self._trim.follow(feed, dt)
        screw = self._screw.follow(SCREW if self.working else 0.0, dt)
        line = self._line.follow(SCREW * PER_TURN * trim / WEIGHT if self.working else 0.0, dt)
        share = screw / SCREW
        # a power law fluid: pressure and torque rise slower than the speed, and heat comes out of both
        self._pressure.follow(100.0 * viscosity * share**0.4, dt)
        self._melt.follow(88.0 + 17.0 * share * viscosity, dt)
        for zone, drift in zip(self._zones, self._drift, strict=True):
            zone.follow(drift.step(dt) + 0.1 * (self._melt.value - 105.0), dt)
        if line > STANDSTILL:
            self._weight.follow(WEIGHT * feed / trim, dt)
            self._width.follow(WIDTH * (feed / trim) ** 0.4, dt)
        torque = 62.0 * viscosity * feed * share**0.3
        power = RATED_POWER * torque / 100.0 * screw / RATED_SPEED
        self.energy += power * dt / 3600
        self._length += line * dt / 60
        weight = self._weight.read() if line > STANDSTILL else self._weight.value
        within = abs(self._weight.value / WEIGHT - 1.0) <= GAUGE
        self._off += 0.0 if within else dt
        self.alarms = int(not within)
        self._sense(screw * PER_TURN * 60.0 * feed, torque, power)
        self.signals.update(profile_weight=weight, weight_in_tolerance=within)

    def judge(self) -> bool:
        """Reject a cart if too much of it is out of gauge: it returns to the extruder."""
        good = self._off <= 0.2 * self.duration and super().judge()
        if good:
            self.supply.name_lot("tread", self.part)
        return good

    def _sense(self, throughput: float, torque: float, power: float) -> None:
        turning = self._screw.value > STANDSTILL
        self.signals.update(
            zone_1_temperature=self._zones[0].read(),
            zone_2_temperature=self._zones[1].read(),
            zone_3_temperature=self._zones[2].read(),
            melt_temperature=self._melt.read(),
            melt_pressure=max(0.0, self._pressure.read()),
            screw_speed=self._screw.read() if turning else self._screw.value,
            drive_torque=torque * max(0.0, self.rng.gauss(1.0, 0.01)),
            drive_power=power,
            throughput=throughput,
            specific_output=1000.0 * PER_TURN * self._feed.value if turning else 0.0,
            line_speed=self._line.read() if turning else self._line.value,
            profile_width=self._width.read(),
            cart_length=self._length,
            compound_lot=self._compound or f"ML{self._lot + self.cycles // LOT}",
        )
