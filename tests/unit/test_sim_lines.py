"""Parts flow: none is lost, none is made up, and the counters of a line agree."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.settings.load import load_factory
from gateway.settings.templates import bundled_config
from simulators.carousel import Carousel
from simulators.line import Line, joined
from simulators.machine import Machine
from simulators.packml import THEN, State
from simulators.parts import FIRST_ORDER, Orders
from simulators.plant import Plant

HOUR = 3600.0


class Maker(Machine):
    """The head of a line."""

    cycle, scrap, makes = 7.0, 0.1, "part"
    recipes = ("a", "b")
    between_stops, stop, changeover = 120.0, 30.0, 20.0


class Oven(Machine):
    """Many places."""

    cycle, scrap, takes, makes = 40.0, 0.05, "part", "part"
    recipes = ("c", "d")
    places = 5


class Packer(Machine):
    """The end."""

    cycle, scrap, takes = 9.0, 0.2, "part"
    recipes = ("e", "f", "g")
    between_stops, stop = 90.0, 60.0


KINDS: tuple[type[Machine], ...] = (Maker, Oven, Packer)


def line(counts: tuple[int, ...], seed: str, order: int = 1000) -> Line:
    """Return a line of so many machines of each kind, whose orders are for so many parts."""
    machines = [
        Carousel(kind, f"{kind.__name__}-{i}", seed) if kind.places > 1 else kind(f"{kind.__name__}-{i}", seed)
        for kind, count in zip(KINDS, counts, strict=True)
        for i in range(count)
    ]
    [stages] = joined(machines)
    one, orders = Line("line", seed, stages), Orders(seed, order)
    for stage in one.stages:
        for machine in stage.machines:
            machine.connect(stage.inlet, stage.outlet, orders)
    return one


def step(one: Line, dt: float) -> None:
    for stage in one.stages:
        for machine in stage.machines:
            machine.step(dt)


def serials(one: Line) -> list[str]:
    buffers = [stage.inlet.parts for stage in one.stages if stage.inlet is not None]
    inside = [machine.part for stage in one.stages for machine in stage.each() if machine.part]
    return inside + [part.serial for buffer in buffers for part in buffer]


@settings(max_examples=25, deadline=None)
@given(
    counts=st.tuples(st.integers(1, 3), st.integers(1, 2), st.integers(1, 3)),
    seed=st.text("abc", max_size=5),
    steps=st.lists(st.floats(0.05, 3.0), min_size=50, max_size=300),
)
def test_parts_are_conserved_at_all_times(counts: tuple[int, ...], seed: str, steps: list[float]):
    """What was started is good, rejected, or still inside: with starving, blocking, stops and changes of order."""
    one = line(counts, seed)
    for dt in steps:
        step(one, dt)
        balance = one.balance
        assert balance.started == balance.good + balance.rejected + balance.inside
        there = serials(one)
        assert len(set(there)) == len(there) == balance.inside


def test_counters_of_neighbours_agree():
    """What a stage has passed on is in the buffer behind it, or has been taken."""
    one = line((2, 1, 1), "seed")
    filled = [len(stage.inlet.parts) if stage.inlet else 0 for stage in one.stages]
    taken = [sum(machine.inside for machine in stage.each()) for stage in one.stages]
    for _ in range(4000):
        step(one, 0.5)
    for number, (before, after) in enumerate(pairwise(one.stages), 1):
        blocked = sum(machine.state is State.SUSPENDED and bool(machine.part) for machine in before.each())
        passed = sum(machine.good for machine in before.each()) - blocked
        arrived = sum(machine.cycles + machine.inside for machine in after.each()) - taken[number]
        arrived -= sum(machine.state is State.SUSPENDED and bool(machine.part) for machine in after.each())
        assert after.inlet is not None
        assert filled[number] + passed == arrived + len(after.inlet.parts)


def test_a_fast_machine_is_blocked_by_a_slow_one_and_a_slow_one_starves_the_next():
    """Suspended is what both are, in PackML's words."""
    one = line((3, 1, 3), "seed")
    states: dict[str, Counter[State]] = {kind.__name__: Counter() for kind in KINDS}
    for _ in range(4000):
        step(one, 0.5)
        for stage in one.stages:
            for machine in stage.each():
                states[machine.model.__name__][machine.state] += 1
    share = {name: seen[State.SUSPENDED] / seen.total() for name, seen in states.items()}
    assert share["Maker"] > 0.2, "blocked"
    assert share["Packer"] > 0.1, "starved"
    assert share["Oven"] < 0.1, "the bottleneck works"


def test_states_follow_packml():
    """Every change of state is one that the state model has, and each of these is seen."""
    allowed = {(state, after) for state, after in THEN.items() if after is not State.EXECUTE}
    into_work = {State.STARTING, State.UNHOLDING, State.SUSPENDED, State.EXECUTE}
    allowed |= {(state, after) for state in into_work
                for after in (State.EXECUTE, State.SUSPENDED, State.HOLDING, State.COMPLETING)}  # fmt: skip
    one = line((1, 1, 1), "seed", order=20)
    seen = set()
    for _ in range(10_000):
        before = {machine: machine.state for stage in one.stages for machine in stage.each()}
        step(one, 0.5)
        seen |= {(state, machine.state) for machine, state in before.items() if machine.state is not state}
    assert seen - allowed == set()
    assert {state for _, state in seen} >= {
        State.EXECUTE, State.SUSPENDED, State.HOLDING, State.HELD, State.UNHOLDING, State.COMPLETING, State.COMPLETE,
        State.RESETTING, State.IDLE, State.STARTING,
    }  # fmt: skip


def test_an_order_goes_down_the_line_with_its_parts():
    """Each machine changes over when the first part of the next order arrives, to a recipe of its own."""
    one = line((1, 1, 1), "seed", order=20)
    recipes: dict[str, set[tuple[str, str]]] = {kind.__name__: set() for kind in KINDS}
    for _ in range(10_000):
        step(one, 0.5)
        for stage in one.stages:
            for machine in stage.each():
                if machine.working:
                    recipes[machine.model.__name__].add((machine.order.number, machine.recipe))
    for kind in KINDS:
        orders = sorted(recipes[kind.__name__])
        assert len(orders) > 2, "no order was changed"
        wanted = [kind.recipes[(int(number[4:]) - FIRST_ORDER) % len(kind.recipes)] for number, _ in orders]
        assert [recipe for _, recipe in orders] == wanted


def test_machines_that_make_nothing_for_each_other_are_not_joined():
    """An extruder beside a calender is no line: parts would flow where none belong."""
    plant = Plant(load_factory(bundled_config() / "tire-plant.yaml"), "seed")
    stages = [[stage.machines[0].model.__name__ for stage in one.stages] for one in plant.lines]
    assert ["UniformityMachine", "XrayMachine"] in stages
    assert ["TreadExtruder"] in stages
    assert ["Calender"] in stages


def test_parallel_machines_do_not_run_in_step():
    """Eight presses that open at once would be a strange picture."""
    plant = Plant(load_factory(bundled_config() / "tire-plant.yaml"), "seed")
    times = [
        shown.machine.elapsed
        for configured, shown in plant.machines
        if configured.template == "curing-press" and isinstance(shown.machine, Machine)
    ]
    assert len(times) == 8
    assert max(times) - min(times) > 200.0


@pytest.fixture(scope="module")
def shift() -> Plant:
    """Two hours of the appliance plant, at 60x speed."""
    plant = Plant(load_factory(bundled_config() / "appliance-plant.yaml"), "seed")
    while plant.clock < 2 * HOUR:
        plant.step(12.0)
    return plant


def test_a_shift_has_a_believable_takt_and_scrap(shift: Plant):
    """The carousel and the leak testers behind it, and the run test, finish as many parts as they are given."""
    cooling = next(one for one in shift.lines if one.name == "assembly/cooling-1")
    per_hour = [sum(machine.cycles for machine in stage.each()) * HOUR / shift.clock for stage in cooling.stages]
    assert per_hour[0] == pytest.approx(per_hour[1], rel=0.15)
    assert 80 < per_hour[1] < 120, "one every 30 seconds, less stops"
    for one in shift.lines:
        balance = one.balance
        made = balance.good + balance.rejected
        assert balance.rejected / max(1, made) < 0.1
