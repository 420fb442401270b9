"""What every machine has: PackML states, parts in and out, counters, energy, a heartbeat.

A model overrides `run`, and `judge` where quality is more than luck; it writes its sensors into `signals`,
whose keys are the names of the template's points.
"""

from __future__ import annotations

from collections import deque
from random import Random
from typing import TYPE_CHECKING, ClassVar

from simulators.packml import Mode, State

if TYPE_CHECKING:
    from drivers.base import Value

STARTUP = 2.0
"""Seconds from Idle to the first part, when a line starts."""


class Buffer:
    """The place between two machines, with room for a few parts, known by their serial numbers."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.parts: deque[str] = deque()

    @property
    def full(self) -> bool:
        """Whether the machine before is blocked."""
        return len(self.parts) >= self.room


class Machine:
    """One machine. Models set the class variables and override `run`.

    `cycle`       seconds from taking a part to passing it on
    `spread`      standard deviation of the cycle as a share of it
    `scrap`       share of parts that are rejected by chance
    `power_idle`, `power_run`  kW
    `serial`      prefix of serial numbers that this machine gives to parts it starts from nothing
    """

    cycle: ClassVar[float] = 60.0
    spread: ClassVar[float] = 0.02
    scrap: ClassVar[float] = 0.005
    power_idle: ClassVar[float] = 2.0
    power_run: ClassVar[float] = 15.0
    serial: ClassVar[str] = "P"

    def __init__(self, name: str, seed: str) -> None:
        self.name = name
        self.rng = Random(f"{seed}/{name}")
        self.inlet: Buffer | None = None
        self.outlet: Buffer | None = None
        self.state = State.IDLE
        self.clock = 0.0  # simulated seconds since the start
        self.elapsed = 0.0  # seconds into this cycle
        self.duration = self.cycle  # of this cycle
        self.alarms = 0
        self.part = ""
        self.recipe = "R-100"
        self.order = "ORD-1001"
        self.cycles = self.good = self.rejects = 0
        self.energy = 0.0
        self._made = 0
        self._started = 0.0
        self._last = 0.0
        self._total = 0.0
        # machines of one kind do not run in step
        self._offset = self.rng.uniform(0.0, STARTUP)
        self.signals: dict[str, Value] = {}
        self._show()

    def run(self, dt: float) -> None:
        """Move the physics on by `dt` and write the sensors into `signals`.

        Called in every state; `self.working` tells whether a part is being worked on, `self.elapsed` how long.
        """

    def judge(self) -> bool:
        """Return whether the part that is finished now is good."""
        return self.rng.random() >= self.scrap

    @property
    def working(self) -> bool:
        """Whether a part is being worked on."""
        return self.state is State.EXECUTE

    def step(self, dt: float) -> None:
        """Move the machine on by `dt` simulated seconds."""
        self.clock += dt
        match self.state:
            case State.IDLE if self.clock >= self._offset:
                self._take()
            case State.EXECUTE:
                self.elapsed += dt
                if self.elapsed >= self.duration:
                    self._finish()
            case State.SUSPENDED:
                self._pass_on() if self.part else self._take()
            case _:
                pass
        self.energy += (self.power_run if self.working else self.power_idle) * dt / 3600
        self.run(dt)
        self._show()

    def _take(self) -> None:
        """Take the next part, or starve."""
        if self.inlet is None:
            self._made += 1
            self.part = f"{self.serial}{self.name.upper()}-{self._made:06d}"
        elif self.inlet.parts:
            self.part = self.inlet.parts.popleft()
        else:
            self.state = State.SUSPENDED
            return
        self.state = State.EXECUTE
        self.elapsed = 0.0
        self._started = self.clock
        self.duration = self.cycle * max(0.5, self.rng.gauss(1.0, self.spread))

    def _finish(self) -> None:
        late = self.elapsed - self.duration
        self._last = self.clock - late - self._started
        self.cycles += 1
        self._total += self._last
        if self.judge():
            self.good += 1
            self._pass_on()
        else:
            self.rejects += 1
            self.part = ""
            self._take()
        if self.working:
            # the rest of this step is the next part's, so that the step size adds nothing to a short cycle
            self.elapsed = late
            self._started -= late

    def _pass_on(self) -> None:
        """Pass the part on, or be blocked with it."""
        if self.outlet is not None:
            if self.outlet.full:
                self.state = State.SUSPENDED
                return
            self.outlet.parts.append(self.part)
        self.part = ""
        self._take()

    def _show(self) -> None:
        """Write what every machine shows."""
        self.signals.update(
            state=int(self.state),
            mode=int(Mode.PRODUCTION),
            order=self.order,
            recipe=self.recipe,
            serial_number=self.part,
            cycle_count=self.cycles,
            good_count=self.good,
            reject_count=self.rejects,
            cycle_time_last=round(self._last, 2),
            cycle_time_average=round(self._total / self.cycles, 2) if self.cycles else 0.0,
            alarm_word=self.alarms,
            energy=round(self.energy, 3),
            heartbeat=int(self.clock) % 65536,
        )
