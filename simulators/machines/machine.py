"""What every machine has: PackML states, parts in and out, orders, counters, energy, stops, a heartbeat.

A model is a subclass in a file of its own. It sets the class variables, and overrides `run`, which writes its sensors
into `signals` under the names of the template's points; `begin` where something is drawn for each part; and `judge`
where quality is more than luck, or `verdicts` where a cycle makes several parts.
"""

from __future__ import annotations

from bisect import bisect
from itertools import compress, count
from random import Random
from typing import TYPE_CHECKING, ClassVar

from simulators.machines.packml import THEN, Mode, State
from simulators.machines.parts import Order, Orders, Part

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from drivers.base import Value
    from simulators.machines.parts import Buffer

STARTUP = 2.0
"""Seconds, at most, that a machine stays in Idle when it starts: those of one kind are not in step."""

ORDER_HOURS = 2.5
"""How long one machine works on an order that is its own."""

ABORTS = 0.08
"""Share of stops that are emergency stops: somebody has to clear them, and to start the machine anew."""

HESITATION = 0.2
"""Share of a cycle, at most, that a machine needs to suspend its work, and again to take it up."""

STOPPED = 1 << 15
"""The bit of the alarm word that tells of a stop."""

STANDING = frozenset({State.HOLDING, State.HELD, State.ABORTING, State.ABORTED, State.CLEARING})
"""States in which it is set."""


class Machine:
    """One machine. Models set the class variables and override `run`.

    `cycle`       seconds from taking a part to passing it on
    `spread`      standard deviation of the cycle as a share of it
    `scrap`       share of parts that are rejected by chance
    `power_idle`, `power_run`  kW
    `serial`      prefix of serial numbers that this machine gives to parts it starts from nothing
    `takes`, `makes`  kind of part: machines that follow each other in a line are joined where these agree
    `recipes`     the recipe for each variant of the product, over and over
    `changeover`  seconds to change from one recipe to another
    `between_stops`, `stop`  mean seconds between two small stops, and how long one lasts
    `cavities`    how many parts a cycle takes, works on and passes on together
    `places`      how many of these machines stand side by side as one: see `simulators.machines.carousel`
    `records`     signals that tell of the part that was finished last
    `process_faults`  what can go wrong inside, by name; `run` asks `self.faults` for it
    """

    cycle: ClassVar[float] = 60.0
    spread: ClassVar[float] = 0.02
    scrap: ClassVar[float] = 0.005
    power_idle: ClassVar[float] = 2.0
    power_run: ClassVar[float] = 15.0
    serial: ClassVar[str] = "P"
    takes: ClassVar[str] = ""
    makes: ClassVar[str] = ""
    recipes: ClassVar[tuple[str, ...]] = ("R-100",)
    changeover: ClassVar[float] = 180.0
    between_stops: ClassVar[float] = 3000.0
    stop: ClassVar[float] = 200.0
    cavities: ClassVar[int] = 1
    places: ClassVar[int] = 1
    records: ClassVar[tuple[str, ...]] = ()
    process_faults: ClassVar[Mapping[str, str]] = {}

    def __init__(self, name: str, seed: str) -> None:
        self.name = name
        self.rng = Random(f"{seed}/{name}")
        self._stops = Random(f"{seed}/{name}/stops")
        self.inlet: Buffer | None = None
        self.outlet: Buffer | None = None
        self.orders = Orders(f"{seed}/{name}", ORDER_HOURS * 3600 * self.cavities / self.cycle)
        self.numbers: Iterator[int] = count(1)  # of parts that are started from nothing
        self.state = State.STOPPED
        self.clock = 0.0  # simulated seconds since the start
        self.elapsed = 0.0  # seconds into this cycle
        self.duration = self.cycle  # of this cycle
        self.alarms = 0
        self.parts: list[Part] = []  # in work, or finished and not yet passed on
        self.recipe = self.recipes[0]
        self.order = Order("", 0)
        self.cycles = self.good = self.rejects = self.started = 0
        self.energy = 0.0
        self.faults: set[str] = set()  # process faults that are active
        self.same_serial = False  # a fault: every part that is started gets the number of the one before
        self._number = 0
        self._last = self._total = self._cycle_began = 0.0
        self._until = self.rng.uniform(0.0, STARTUP)
        self._next_stop = self._stops.expovariate(1 / self.between_stops)
        self.signals: dict[str, Value] = {}
        self._show()

    def begin(self) -> None:
        """Take note that a cycle begins with `parts`: draw what differs from one part to the next."""

    def run(self, dt: float) -> None:
        """Move the physics on by `dt` and write the sensors into `signals`.

        Called in every state; `self.working` tells whether a part is being worked on, `self.time` how long.
        """

    def judge(self) -> bool:
        """Return whether the part that is finished now is good."""
        return self.rng.random() >= self.scrap

    def verdicts(self) -> list[bool]:
        """Return of each of `parts`, which are finished now, whether it is good."""
        return [self.judge() for _ in self.parts]

    @property
    def working(self) -> bool:
        """Whether a part is being worked on."""
        return self.state is State.EXECUTE

    @property
    def time(self) -> float:
        """Seconds into the cycle, as if it took as long as it usually does."""
        return self.elapsed * self.cycle / self.duration

    @property
    def part(self) -> str:
        """The serial number of the part in the machine, the first of several; empty where there is none."""
        return self.parts[0].serial if self.parts else ""

    @property
    def inside(self) -> int:
        """How many parts are in the machine."""
        return len(self.parts)

    def phase(self, ends: Sequence[float]) -> int:
        """Return the phase of the cycle: 0 none, 1 up to the first of `ends` (seconds into the cycle), and so on."""
        return 1 + bisect(ends, self.time) if self.working else 0

    def look(self) -> dict[str, Value]:
        """Return what the machine shows now, by the names of its points."""
        return self.signals

    def warm_up(self) -> None:
        """Begin somewhere in a cycle, as a machine that has been running: those of one kind are not in step."""
        self._take()
        if not self.working:
            return
        target = self.rng.uniform(0.02, 0.95) * self.duration
        steps = max(1, min(100, int(target)))
        for _ in range(steps):
            self.step(target / steps)

    def step(self, dt: float) -> None:
        """Move the machine on by `dt` simulated seconds."""
        self.clock += dt
        if self.state is State.EXECUTE:
            self.elapsed += dt
            if self.elapsed >= self.duration:
                self._finish()
        elif self.state is State.SUSPENDED:
            # what is finished leaves, and the next parts are taken, as soon as the neighbours let it
            if self._pass_on() and self._fetch():
                self._enter(State.UNSUSPENDING)
        elif self.clock >= self._until:
            self._move_on()
        self.energy += (self.power_run if self.working else self.power_idle) * dt / 3600
        self.run(dt)
        self._show()

    @property
    def model(self) -> type[Machine]:
        """The machine's type."""
        return type(self)

    @property
    def machines(self) -> list[Machine]:
        """The machine itself; a carousel has many."""
        return [self]

    def connect(self, inlet: Buffer | None, outlet: Buffer | None, orders: Orders) -> None:
        """Stand between two buffers; without an inlet parts are started from nothing, for `orders`."""
        self.inlet, self.outlet, self.orders = inlet, outlet, orders

    def start_part(self) -> Part:
        """Start a part from nothing."""
        if not (self.same_serial and self._number):
            self._number = next(self.numbers)
        self.started += 1
        return Part(f"{self.serial}{self.name.upper()}-{self._number:06d}", self.orders.take())

    def _move_on(self) -> None:
        """Leave a state that takes its time."""
        after = THEN[self.state]
        if after is not State.EXECUTE:
            self._enter(after)
        elif self.parts:
            self._set_up()
        else:
            self._take()

    def _enter(self, state: State) -> None:
        """Enter a state that takes its time: a second, but for stops and changes of recipe."""
        self.state = state
        lasts = 1.0
        if state in {State.HELD, State.ABORTED}:
            lasts = self._stops.expovariate(1 / self.stop)
        elif state in {State.SUSPENDING, State.UNSUSPENDING}:
            lasts = min(lasts, HESITATION * self.cycle)
        elif self.parts and state in {State.COMPLETE, State.RESETTING}:
            lasts = self.changeover / 2
        self._until = self.clock + lasts

    def _take(self) -> None:
        """Take the next parts, or starve, or stop for a while."""
        if self.clock >= self._next_stop:
            self._next_stop = self.clock + self._stops.expovariate(1 / self.between_stops)
            self._enter(State.ABORTING if self._stops.random() < ABORTS else State.HOLDING)
        elif self._fetch():
            self._set_up()
        else:
            self._enter(State.SUSPENDING)

    def _fetch(self) -> bool:
        """Return whether a part for each cavity was there to be taken."""
        if self.inlet is None:
            self.parts = [self.start_part() for _ in range(self.cavities)]
        elif len(self.inlet.parts) >= self.cavities:
            self.parts = [self.inlet.parts.popleft() for _ in range(self.cavities)]
        return bool(self.parts)

    def _set_up(self) -> None:
        """Begin with the parts that were taken, or change over to their recipe first."""
        before, self.order = self.recipe, self.parts[0].order
        self.recipe = self.recipes[self.order.variant % len(self.recipes)]
        if self.recipe != before:
            self._enter(State.COMPLETING)
        else:
            self._begin()

    def _begin(self) -> None:
        self.state = State.EXECUTE
        self.elapsed = 0.0
        self._cycle_began = self.clock
        self.duration = self.cycle * max(0.5, self.rng.gauss(1.0, self.spread))
        self.begin()

    def _finish(self) -> None:
        late = self.elapsed - self.duration
        self._last = self.clock - late - self._cycle_began
        self.cycles += 1
        self._total += self._last
        made = len(self.parts)
        self.parts = list(compress(self.parts, self.verdicts()))
        self.good += len(self.parts)
        self.rejects += made - len(self.parts)
        if self._pass_on():
            self._take()
        else:
            self._enter(State.SUSPENDING)
        if self.working:
            # the rest of this step is the next part's, so that the step size adds nothing to a short cycle
            self.elapsed = late
            self._cycle_began -= late

    def _pass_on(self) -> bool:
        """Pass on the parts that are finished; return whether there was room for all of them."""
        while self.parts and not (self.outlet is not None and self.outlet.full):
            part = self.parts.pop(0)
            if self.outlet is not None:
                self.outlet.parts.append(part)
        return not self.parts

    def _show(self) -> None:
        """Write what every machine shows."""
        stopped = STOPPED if self.state in STANDING else 0
        self.signals.update(
            state=int(self.state),
            mode=int(Mode.PRODUCTION),
            order=self.order.number,
            recipe=self.recipe,
            serial_number=self.part,
            cycle_count=self.cycles,
            good_count=self.good,
            reject_count=self.rejects,
            cycle_time_last=round(self._last, 2),
            cycle_time_average=round(self._total / self.cycles, 2) if self.cycles else 0.0,
            alarm_word=self.alarms | stopped,
            energy=round(self.energy, 3),
            heartbeat=int(self.clock) % 65536,
        )
