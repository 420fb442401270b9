"""Several calculations follow the scans of a machine: their order, their states, and their time."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

import orjson
import pytest
from derived import MACHINE, START, Bench
from points import register
from structlog.testing import capture_logs

from drivers.base import Connection, Group, Scan
from gateway.common.clock import Clock
from gateway.model.ledger import Ledger
from gateway.pipeline.calculation import Calculation
from gateway.pipeline.calculations import Calculations, follow, saved_name
from gateway.pipeline.machine_status import MachineStatuses
from gateway.pipeline.normalize import TrustedTime
from gateway.pipeline.pipeline import Pipeline
from gateway.settings.results import content_of, result_point

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.model.reading import NamedScan
    from gateway.pipeline.calculation import Step


class Sums(Calculation):
    """Sums all values of all groups."""

    kind = "sums"
    takes_time = True

    def __init__(self, machine: str = MACHINE, seen: list[str] | None = None) -> None:
        super().__init__(machine)
        self.sum = 0.0
        self.ticks: list[float] = []
        self._seen = [] if seen is None else seen

    def step(self, group: Group) -> Step | None:
        return None if group.search else self._take

    def _take(self, scan: Scan) -> None:
        with self.guard:
            self._seen.append(f"{self.kind} {','.join(scan.group.names)}")
            self.sum += sum(float(value) for value in scan.values if value is not None)
            self.changed = True

    def tick(self, now: float) -> None:
        self.ticks.append(now)
        self.due = math.inf

    def save(self) -> bytes:
        self.changed = False
        if self.sum < 0:
            raise ValueError("negative")
        return orjson.dumps(self.sum)

    def load(self, saved: bytes) -> tuple[list[str], list[str]]:
        if not saved:
            return [], ["sum"]
        self.sum = orjson.loads(saved)
        return [], []


def test_a_later_calculation_sees_the_readings_of_an_earlier_one_first() -> None:
    """An alarm of a derived point is about the value that was derived from this very scan."""
    bench = Bench([register("x")], a="x + 1")
    seen: list[str] = []
    sums = Sums(seen=seen)
    calculations = [bench.derivation, sums]
    own = follow(calculations, bench.derivation.group)
    assert own is not None
    bench.derivation.sink = own  # as the service connects them
    step = follow(calculations, bench.groups[0])
    assert step is not None
    step(Scan(bench.groups[0], START, [1]))
    assert seen == ["sums a", "sums x"]
    assert sums.sum == 3


def test_a_group_that_matters_to_no_calculation_costs_nothing() -> None:
    """The pipeline then has nothing to call."""
    bench = Bench([register("x")], [register("y")], a="x + 1")
    assert follow([bench.derivation], bench.groups[1]) is None
    assert follow([], bench.groups[0]) is None
    assert follow([bench.derivation], bench.groups[0]) == bench.derivation.take


def test_results_take_the_way_of_events() -> None:
    """They do not decide on the state of the machine, and each has a time of its own."""
    point = result_point("alarms", "alarm", "the alarms")
    assert content_of(point) == "alarm"
    assert content_of(register("x")) == ""
    group = Group(MACHINE, Connection(), ("alarms",), (point.source,), 1.0, events=True)
    ledger, put = Ledger(), list[tuple["NamedScan", int]]()
    pipeline = Pipeline([point], TrustedTime(), MachineStatuses(Clock()), ledger, lambda *a: put.append(a))
    for _ in range(3):
        pipeline.take(Scan(group, START, ['{"a":1}'], points=(0,)))
    assert [(scan.times.get("alarms", scan.time), dict(scan.values)) for scan, _ in put] == [
        (START + n, {"alarms": '{"a":1}'}) for n in range(3)
    ]
    assert ledger.acquired == 3


def test_states_have_names_of_their_kind() -> None:
    """Those of derived points are as in spools of older releases."""
    assert saved_name("derive", MACHINE) == MACHINE
    assert saved_name("sums", MACHINE) == f"sums:{MACHINE}"
    bench, sums, calculations = Bench([register("x")], a="edges(x > 5)"), Sums(), Calculations()
    calculations.configure(MACHINE, [bench.derivation, sums])
    bench.take(0, 1)
    sums.changed = True
    assert set(calculations.take_changed()) == {MACHINE, f"sums:{MACHINE}"}
    assert calculations.take_changed() == {}


def test_each_calculation_goes_on_with_its_own_state() -> None:
    """Over a reload, over a restart, and from another worker, whose state is newer than that here."""
    before = Sums()
    before.sum = 5
    calculations = Calculations()
    calculations.configure(MACHINE, [before])
    after = Sums()
    calculations.configure(MACHINE, [after])
    assert after.sum == 5
    calculations.configure(MACHINE, [])
    assert calculations.take_changed() == {f"sums:{MACHINE}": b"5"}

    calculations, restarted = Calculations(), Sums()
    calculations.configure(MACHINE, [restarted])
    calculations.restore({f"sums:{MACHINE}": b"7", MACHINE: b"{}"})
    assert restarted.sum == 7

    calculations, moved = Calculations(), Sums()
    calculations.inherit({f"sums:{MACHINE}": b"8", "sums:other": b"9"}, {MACHINE})
    calculations.configure(MACHINE, [moved])
    calculations.restore({f"sums:{MACHINE}": b"3", "sums:other": b"4"})
    assert moved.sum == 8
    other = Sums("other")
    calculations.configure("other", [other])
    assert other.sum == 4


def test_a_damaged_state_is_reported_with_its_calculation() -> None:
    """A person sees what begins again."""
    calculations = Calculations()
    calculations.restore({f"sums:{MACHINE}": b""})
    with capture_logs() as events:
        calculations.configure(MACHINE, [Sums()])
    assert events == [
        {"event": "calculation.state_reset", "log_level": "warning", "machine": MACHINE, "calculation": "sums",
         "parts": ["sum"], "reason": "the saved state is damaged"}
    ]  # fmt: skip


def test_a_state_that_can_not_be_written_costs_no_other() -> None:
    """It is logged, and the others are saved."""
    broken, right, calculations = Sums("broken"), Sums("right"), Calculations()
    calculations.configure("broken", [broken])
    calculations.configure("right", [right])
    broken.sum = -1
    with capture_logs() as events:
        for _ in range(2):
            broken.changed = right.changed = True
            assert calculations.take_changed() == {"sums:right": b"0.0"}
        calculations.configure("broken", [])
    assert {event["event"] for event in events} == {"calculation.state_not_saved"}


def test_only_what_is_due_gets_a_tick() -> None:
    """One timer serves all; a calculation that fails delays no other."""

    class Broken(Sums):
        kind = "broken"

        def tick(self, now: float) -> None:
            raise RuntimeError(str(now))

    calculations, sums, broken = Calculations(), Sums(), Broken()
    calculations.configure(MACHINE, [broken, sums])
    calculations.tick(5.0)
    assert sums.ticks == []
    sums.due, broken.due = 7.0, 0.0
    with capture_logs() as events:
        calculations.tick(6.9)
        calculations.tick(7.0)
        calculations.tick(7.1)
    assert sums.ticks == [7.0]
    assert {event["event"] for event in events} == {"helper.failed"}
    calculations.configure(MACHINE, [])
    sums.due = 0.0
    calculations.tick(8.0)
    assert sums.ticks == [7.0]


@pytest.mark.parametrize("timed", [False, True])
async def test_the_timer_sleeps_while_no_calculation_needs_it(timed: bool) -> None:  # noqa: FBT001 - a parameter
    """A gateway without alarms has no timer that wakes it."""
    calls: list[float] = []
    ticked = asyncio.Event()

    def monotonic() -> float:
        calls.append(0.0)
        ticked.set()
        return 0.0

    calculations = Calculations(monotonic)
    bench = Bench([register("x")], a="x + 1")
    calculations.configure(MACHINE, [Sums()] if timed else [bench.derivation])
    running = asyncio.create_task(calculations.run())
    if timed:
        await ticked.wait()
    else:
        for _ in range(10):
            await asyncio.sleep(0)
        assert not calls
    running.cancel()


def test_an_error_of_one_calculation_costs_neither_readings_nor_others() -> None:
    """The guard of each is its own."""
    seen: list[str] = []
    first, second = Sums(seen=seen), Sums(seen=seen)
    group = Group(MACHINE, Connection(), ("x",), (), 1.0)
    steps: Sequence[Callable[[Scan], None] | None] = [follow([first, second], group)]
    assert steps[0] is not None
    with capture_logs():
        steps[0](Scan(group, START, ["text"]))
    assert seen == ["sums x", "sums x"]
