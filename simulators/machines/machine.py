"""The base of all models: PackML states, parts in and out, orders, counters, energy, stops, a heartbeat.

A model is a subclass in a file of its own. It sets the class variables and overrides `run`, which writes the sensors
into `signals` under the names of the template's points. It overrides `begin` to draw what varies from part to part,
and `judge` (or `verdicts`, if a cycle makes several parts) where quality depends on the process.
"""

from __future__ import annotations

from bisect import bisect
from itertools import compress, count
from random import Random
from typing import TYPE_CHECKING, ClassVar

from drivers.packml import Mode, State
from simulators.machines.packml import AFTER_WAIT
from simulators.machines.parts import Order, Orders, Part, Supply

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from drivers.base import Value
    from simulators.machines.parts import Buffer

STARTUP = 2.0
"""Longest initial stay in Stopped in seconds, so that machines of one model are not synchronized."""

ORDER_HOURS = 2.5
"""Duration of an order of a machine outside a line."""

ABORTS = 0.08
"""Share of stops that are emergency stops, which end in Aborted: an operator has to clear, reset and start."""

SUSPEND_SHARE = 0.2
"""Longest stay in Suspending, and in Unsuspending, as a fraction of the cycle."""

STOP_ALARM = 1 << 15
"""Bit of the alarm word that is set during a stop."""

ALARM_STATES = frozenset({State.HOLDING, State.HELD, State.ABORTING, State.ABORTED, State.CLEARING})
"""States in which `STOP_ALARM` is set."""


class Machine:
    """One machine. Models set the class variables and override `run`.

    `cycle`       seconds from taking a part to passing it on
    `spread`      standard deviation of the cycle as a fraction of it
    `scrap`       share of parts that are rejected by chance
    `power_idle`, `power_run`  kW
    `serial`      prefix of serial numbers of parts that start at this machine
    `takes`, `makes`  kinds of part: consecutive machines of a line are joined if these agree
    `recipes`     recipe of each variant of the product, repeated in turn
    `changeover`  seconds to change from one recipe to another
    `between_stops`, `stop`  mean seconds between two minor stops, and of one stop
    `cavities`    parts that a cycle takes, works on and passes on together
    `places`      number of these machines that form one: see `carousel`
    `draws`, `stores`  kinds of part that the first machine of a line takes from the store between lines, and that the
                  last machine puts there; where none is stored, the part comes from elsewhere
    `records`     signals that describe the part that was finished last
    `process_faults`  name -> effect of faults of the process; `run` checks `self.faults` for them
    """

    cycle: ClassVar[float] = 60.0
    spread: ClassVar[float] = 0.02
    scrap: ClassVar[float] = 0.005
    power_idle: ClassVar[float] = 2.0
    power_run: ClassVar[float] = 15.0
    serial: ClassVar[str] = "P"
    takes: ClassVar[str] = ""
    makes: ClassVar[str] = ""
    draws: ClassVar[str] = ""
    stores: ClassVar[str] = ""
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
        self.supply = Supply()  # that of its plant, once it is in one
        self.orders = Orders(f"{seed}/{name}", ORDER_HOURS * 3600 * self.cavities / self.cycle)
        self.numbers: Iterator[int] = count(1)  # of parts that start here
        self.state = State.STOPPED
        self.clock = 0.0  # simulated seconds since the start
        self.elapsed = 0.0  # seconds into this cycle
        self.duration = self.cycle  # of this cycle
        self.alarms = 0
        self.parts: list[Part] = []  # in process, or finished and blocked
        self.recipe = self.recipes[0]
        self.order = Order("", 0)
        self.cycles = self.good = self.rejects = self.started = 0
        self.energy = 0.0
        self.faults: set[str] = set()  # process faults that are active
        self.same_serial = False  # a fault: each part that starts here gets the serial number of the part before
        self._number = 0
        self._cycle_pending = False  # in Execute, but no cycle has begun
        self._last = self._total = self._cycle_began = 0.0
        self._until = self.rng.uniform(0.0, STARTUP)
        self._next_stop = self._stops.expovariate(1 / self.between_stops)
        self.signals: dict[str, Value] = {}
        self._write_signals()

    def begin(self) -> None:
        """Prepare a cycle for `parts`: draw what varies from part to part."""

    def run(self, dt: float) -> None:
        """Advance the physics by `dt` and write the sensors into `signals`.

        Called in every state; `self.working` is True while a part is processed, `self.time` is the time in its cycle.
        """

    def judge(self) -> bool:
        """Return True if the part that is finished now is good."""
        return self.rng.random() >= self.scrap

    def verdicts(self) -> list[bool]:
        """Return for each of `parts`, which are finished now, True if it is good."""
        return [self.judge() for _ in self.parts]

    @property
    def working(self) -> bool:
        """Whether a part is being processed."""
        return self.state is State.EXECUTE and not self._cycle_pending

    @property
    def time(self) -> float:
        """Seconds into the cycle, scaled to its nominal duration."""
        return self.elapsed * self.cycle / self.duration

    @property
    def part(self) -> str:
        """The serial number of the part in the machine, the first of several; empty if there is none."""
        return self.parts[0].serial if self.parts else ""

    @property
    def inside(self) -> int:
        """Number of parts in the machine."""
        return len(self.parts)

    def phase(self, ends: Sequence[float]) -> int:
        """Return the phase of the cycle: 0 none, 1 up to the first of `ends` (seconds into the cycle), and so on."""
        return 1 + bisect(ends, self.time) if self.working else 0

    def read(self) -> dict[str, Value]:
        """Return the present values, by point."""
        return self.signals

    def warm_up(self) -> None:
        """Begin at a random time in a cycle, like a machine that has been running."""
        self._take()
        if not self.working:
            return
        target = self.rng.uniform(0.02, 0.95) * self.duration
        steps = max(1, min(100, int(target)))
        for _ in range(steps):
            self.step(target / steps)

    def step(self, dt: float) -> None:
        """Advance the machine by `dt` simulated seconds."""
        self.clock += dt
        if self.state is State.EXECUTE and self._cycle_pending:
            self._cycle_pending = False
            self._continue()
        elif self.state is State.EXECUTE:
            self.elapsed += dt
            if self.elapsed >= self.duration:
                self._finish()
        elif self.state is State.SUSPENDED:
            # finished parts leave and the next parts enter as soon as the neighbours allow it
            if self._pass_on() and self._fetch():
                self._enter(State.UNSUSPENDING)
        elif self.clock >= self._until:
            self._enter(AFTER_WAIT[self.state])
        self.energy += (self.power_run if self.working else self.power_idle) * dt / 3600
        self.run(dt)
        self._write_signals()

    @property
    def model(self) -> type[Machine]:
        """The machine's type."""
        return type(self)

    @property
    def machines(self) -> list[Machine]:
        """The machine itself; a carousel has several."""
        return [self]

    def connect(self, inlet: Buffer | None, outlet: Buffer | None, orders: Orders) -> None:
        """Set the buffers before and behind the machine; without an inlet, parts start here for `orders`."""
        self.inlet, self.outlet, self.orders = inlet, outlet, orders

    def start_part(self) -> Part:
        """Start a part for the current order."""
        if not (self.same_serial and self._number):
            self._number = next(self.numbers)
        self.started += 1
        return Part(f"{self.serial}{self.name.upper()}-{self._number:06d}", self.orders.next_order())

    def _continue(self) -> None:
        """Begin a cycle in Execute, or leave Execute: to suspend, to hold, to abort, or to change the recipe."""
        if self.parts:
            self._set_up()
        else:
            self._take()

    def _enter(self, state: State) -> None:
        """Enter a state for a second; stops, changes of recipe and suspensions have their own times.

        Execute lasts at least until the next step, since PackML has no transition around it.
        """
        self.state = state
        self._cycle_pending = state is State.EXECUTE
        duration = 1.0
        if state in {State.HELD, State.ABORTED}:
            duration = self._stops.expovariate(1 / self.stop)
        elif state in {State.SUSPENDING, State.UNSUSPENDING}:
            duration = min(duration, SUSPEND_SHARE * self.cycle)
        elif self.parts and state in {State.COMPLETE, State.RESETTING}:
            duration = self.changeover / 2
        self._until = self.clock + duration

    def _take(self) -> None:
        """Take the next parts; suspend if there are none; hold or abort if a stop is due."""
        if self.clock >= self._next_stop:
            self._next_stop = self.clock + self._stops.expovariate(1 / self.between_stops)
            self._enter(State.ABORTING if self._stops.random() < ABORTS else State.HOLDING)
        elif self._fetch():
            self._set_up()
        else:
            self._enter(State.SUSPENDING)

    def _fetch(self) -> bool:
        """Take a part for each cavity; return False if there are not enough."""
        if self.inlet is None:
            self.parts = self._draw_parts() or [self.start_part() for _ in range(self.cavities)]
        elif len(self.inlet.parts) >= self.cavities:
            self.parts = [self.inlet.parts.popleft() for _ in range(self.cavities)]
        return bool(self.parts)

    def _draw_parts(self) -> list[Part]:
        """Take parts that an earlier line has made, for an order of this line."""
        drawn = [] if self.same_serial else self.supply.draw(self.draws, self.cavities)
        self.started += len(drawn)
        return [part._replace(order=self.orders.next_order()) for part in drawn]

    def _set_up(self) -> None:
        """Begin a cycle with the fetched parts, or change over to their recipe first."""
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
        excess = self.elapsed - self.duration
        self._last = self.clock - excess - self._cycle_began
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
            # the rest of this step belongs to the next part, so that the step size adds nothing to a short cycle
            self.elapsed = excess
            self._cycle_began -= excess

    def _pass_on(self) -> bool:
        """Pass finished parts on; return True if there was room for all of them."""
        while self.parts and not (self.outlet is not None and self.outlet.full):
            part = self.parts.pop(0)
            if self.outlet is not None:
                self.outlet.parts.append(part)
            elif self.stores:
                self.supply.add(self.stores, part)
        return not self.parts

    def _write_signals(self) -> None:
        """Write the signals that every machine has."""
        stop_alarm = STOP_ALARM if self.state in ALARM_STATES else 0
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
            alarm_word=self.alarms | stop_alarm,
            energy=round(self.energy, 3),
            heartbeat=int(self.clock) % 65536,
        )
