"""Parts flow: none is lost, none is made up, and the counters of a line agree."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.packml import State
from gateway.settings.load import load_factory
from gateway.settings.templates import bundled_config
from simulators.faults.catalogue import random_faults
from simulators.faults.injector import Injector
from simulators.machines.carousel import Carousel
from simulators.machines.line import Line, Stage, form_lines
from simulators.machines.machine import Machine
from simulators.machines.packml import TRANSITIONS, next_state
from simulators.machines.parts import FIRST_ORDER, Buffer, Orders, Part
from simulators.machines.plant import Plant

if TYPE_CHECKING:
    from gateway.settings.factory import Factory

HOUR = 3600.0


@cache
def factory(plant: str) -> Factory:
    """Return a bundled plant, which no test changes."""
    return load_factory(bundled_config() / f"{plant}.yaml")


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


class Twins(Machine):
    """Two parts a cycle."""

    cycle, scrap, takes, makes = 10.0, 0.1, "part", "part"
    cavities = 2
    between_stops, stop = 200.0, 30.0


class Packer(Machine):
    """The end."""

    cycle, scrap, takes = 9.0, 0.2, "part"
    recipes = ("e", "f", "g")
    between_stops, stop = 90.0, 60.0


KINDS: tuple[type[Machine], ...] = (Maker, Oven, Twins, Packer)


def line(counts: tuple[int, ...], seed: str, order: int = 1000) -> Line:
    """Return a line of so many machines of each kind, whose orders are for so many parts."""
    machines = [
        Carousel(kind, f"{kind.__name__}-{i}", seed) if kind.places > 1 else kind(f"{kind.__name__}-{i}", seed)
        for kind, count in zip(KINDS, counts, strict=True)
        for i in range(count)
    ]
    [stages] = form_lines(machines)
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
    inside = [part.serial for stage in one.stages for machine in stage.each() for part in machine.parts]
    return inside + [part.serial for buffer in buffers for part in buffer]


@settings(max_examples=25, deadline=None)
@given(
    counts=st.tuples(st.integers(1, 3), st.integers(1, 2), st.integers(1, 2), st.integers(1, 3)),
    seed=st.text("abc", max_size=5),
    steps=st.lists(st.floats(0.05, 3.0), min_size=50, max_size=300),
)
def test_parts_are_conserved_at_all_times(counts: tuple[int, ...], seed: str, steps: list[float]):
    """A started part is good, rejected or still inside, with starving, blocking, stops and changes of order."""
    one = line(counts, seed)
    for dt in steps:
        step(one, dt)
        balance = one.balance
        assert balance.started == balance.good + balance.rejected + balance.inside
        there = serials(one)
        assert len(set(there)) == len(there) == balance.inside


@pytest.mark.parametrize("plant", ["tire-plant", "appliance-plant"])
@settings(max_examples=4, deadline=None)
@given(
    seed=st.text("abc", max_size=5),
    steps=st.lists(st.floats(0.1, 30.0), min_size=10, max_size=25),
    every=st.floats(20.0, 200.0),
)
def test_parts_are_conserved_in_whole_plants_at_any_speed_whatever_goes_wrong(
    plant: str, seed: str, steps: list[float], every: float
):
    """This includes duplicate serial numbers, a press that opens late, and the end of an order."""
    one = Plant(factory(plant), seed)
    injector = Injector(random_faults([shown for _, shown in one.machines], seed, every, sum(steps)))
    for dt in steps:
        one.step(dt)
        injector.step(one.clock)
        for there in one.lines:
            balance = there.balance
            assert balance.started == balance.good + balance.rejected + balance.inside
            for machine in machines_of(there):
                assert machine.cycles * machine.cavities == machine.good + machine.rejects


def machines_of(line: Line) -> list[Machine]:
    return [machine for stage in line.stages for machine in stage.each()]


def test_counters_of_neighbours_agree():
    """A part that a stage has passed on is in the buffer behind it, or has entered the next stage."""
    one = line((2, 1, 1, 1), "seed")
    filled = [len(stage.inlet.parts) if stage.inlet else 0 for stage in one.stages]
    inside_before = [sum(machine.inside for machine in stage.each()) for stage in one.stages]
    for _ in range(4000):
        step(one, 0.5)
    for number, (before, after) in enumerate(pairwise(one.stages), 1):
        passed = sum(machine.good - blocked(machine) for machine in before.each())
        arrived = sum(machine.good + machine.rejects + machine.inside - blocked(machine) for machine in after.each())
        arrived -= inside_before[number]
        assert after.inlet is not None
        assert filled[number] + passed == arrived + len(after.inlet.parts)


def blocked(machine: Machine) -> int:
    """Return how many parts it has finished and can't pass on."""
    return machine.inside if machine.state in {State.SUSPENDING, State.SUSPENDED} else 0


def test_a_machine_of_two_cavities_takes_two_parts_and_passes_on_good_parts():
    """Each has its own serial number and its own verdict; with one part to be had, the machine waits for another."""
    source, drain = Buffer(6), Buffer(3)
    twins = Twins("twins", "seed")
    twins.connect(source, drain, Orders("seed", 1000))
    order = twins.orders.next_order()
    source.parts.append(Part("P-1", order))
    until(twins, State.SUSPENDED)
    assert (twins.inside, len(source.parts)) == (0, 1)
    source.parts += [Part(f"P-{number}", order) for number in range(2, 7)]
    until(twins, State.EXECUTE)
    assert [part.serial for part in twins.parts] == ["P-1", "P-2"]
    until(twins, State.SUSPENDED)
    assert [part.serial for part in drain.parts] == ["P-1", "P-2", "P-3"]
    assert [part.serial for part in twins.parts] == ["P-4"], "blocked with one of two"
    assert (twins.cycles, twins.good, twins.rejects) == (2, 4, 0)
    drain.parts.clear()
    until(twins, State.EXECUTE)
    assert [part.serial for part in twins.parts] == ["P-5", "P-6"]
    assert [part.serial for part in drain.parts] == ["P-4"]


def until(machine: Machine, state: State) -> None:
    limit = machine.clock + 100.0
    machine.step(0.5)
    while machine.state is not state:
        assert machine.clock < limit, machine.state
        machine.step(0.5)


def test_a_slow_machine_blocks_the_machine_before_it_and_starves_the_next():
    """Both are in the state Suspended (PackML)."""
    one = line((3, 1, 1, 3), "seed")
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
    """Every change of state is a transition of the standard, and each state of a normal day is seen."""
    one = line((1, 1, 1, 1), "seed", order=20)
    seen = set()
    for _ in range(10_000):
        before = {machine: machine.state for stage in one.stages for machine in stage.each()}
        step(one, 0.5)
        seen |= {(state, machine.state) for machine, state in before.items() if machine.state is not state}
    assert [(state, after) for state, after in seen if after not in TRANSITIONS[state]] == []
    assert {state for _, state in seen} >= {
        State.EXECUTE, State.SUSPENDING, State.SUSPENDED, State.UNSUSPENDING, State.HOLDING, State.HELD,
        State.UNHOLDING, State.COMPLETING, State.COMPLETE, State.RESETTING, State.IDLE, State.STARTING,
        State.ABORTING, State.ABORTED, State.CLEARING, State.STOPPED,
    }  # fmt: skip


def test_the_state_model_is_that_of_the_standard():
    """OPC 30050: every state but Aborting and Aborted can be aborted; Execute ends by command or completion."""
    assert TRANSITIONS[State.EXECUTE] == {
        State.COMPLETING, State.HOLDING, State.SUSPENDING, State.STOPPING, State.ABORTING
    }  # fmt: skip
    assert TRANSITIONS[State.UNSUSPENDING] == {State.EXECUTE, State.STOPPING, State.ABORTING}
    assert TRANSITIONS[State.STOPPED] == {State.RESETTING, State.ABORTING}
    assert TRANSITIONS[State.ABORTED] == {State.CLEARING}
    assert TRANSITIONS[State.CLEARING] == {State.STOPPED, State.ABORTING}
    assert {state for state in TRANSITIONS if State.ABORTING not in TRANSITIONS[state]} == {
        State.ABORTING, State.ABORTED
    }  # fmt: skip


def test_the_way_to_a_state_leads_over_transitions():
    """A carousel follows its places, which do not change state together."""
    for state in TRANSITIONS:
        for target in TRANSITIONS:
            here, steps = state, 0
            while here is not target:
                following = next_state(here, target)
                assert following in TRANSITIONS[here]
                here, steps = following, steps + 1
            assert steps < len(TRANSITIONS)
    assert next_state(State.EXECUTE, State.EXECUTE) is State.EXECUTE


@pytest.mark.parametrize("plant", ["tire-plant", "appliance-plant"])
def test_the_machines_of_a_plant_move_along_transitions(plant: str):
    """The states that a reader sees have no jump, also those of carousels."""
    machines = Plant(factory(plant), "seed")
    modelled = [outputs for _, outputs in machines.machines if "state" in outputs.values()]
    before = [outputs.values()["state"] for outputs in modelled]
    seen = set()
    while machines.clock < HOUR / 6:
        machines.step(0.25)
        now = [outputs.values()["state"] for outputs in modelled]
        seen |= {(State(then), State(after)) for then, after in zip(before, now, strict=True) if then != after}
        before = now
    assert len(seen) > 5
    assert [(state, after) for state, after in seen if after not in TRANSITIONS[state]] == []


def test_an_order_goes_down_the_line_with_its_parts():
    """Each machine changes over when the first part of the next order arrives, to a recipe of its own."""
    one = line((1, 1, 1, 1), "seed", order=20)
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
    """An extruder beside a calender is not a line: parts would flow between machines that are not connected."""
    plant = Plant(factory("tire-plant"), "seed")
    stages = [[stage.machines[0].model.__name__ for stage in one.stages] for one in plant.lines]
    assert ["UniformityMachine", "XrayMachine"] in stages
    assert ["TreadExtruder"] in stages
    assert ["Calender"] in stages


def test_parallel_machines_do_not_run_in_step():
    """Eight presses that open at once would be a strange picture."""
    plant = Plant(factory("tire-plant"), "seed")
    times = [
        shown.machine.elapsed
        for configured, shown in plant.machines
        if configured.template == "curing-press" and isinstance(shown.machine, Machine)
    ]
    assert len(times) == 8
    assert max(times) - min(times) > 200.0


class Shift:
    """Eight hours of a plant at 60x speed, and the parts of each stage in this time."""

    def __init__(self, plant: str) -> None:
        self.plant = Plant(factory(plant), "seed")
        before = {machine: self._counts(machine) for line in self.plant.lines for machine in machines_of(line)}
        with pytest.MonkeyPatch.context() as patch:
            for kind in (Machine, Carousel):  # nobody reads the values that the machines show
                patch.setattr(kind, "_write_signals", lambda _: None)
            while self.plant.clock < 8 * HOUR:
                self.plant.step(12.0)
        self.made = {
            machine: tuple(now - then for now, then in zip(self._counts(machine), counts, strict=True))
            for machine, counts in before.items()
        }

    @staticmethod
    def _counts(machine: Machine) -> tuple[int, int, int]:
        return machine.good + machine.rejects, machine.good, machine.rejects

    def total(self, stage: Stage) -> tuple[int, int, int]:
        """Return finished, good and rejected parts of a stage."""
        made, good, rejects = zip(*(self.made[machine] for machine in stage.each()), strict=True)
        return sum(made), sum(good), sum(rejects)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("plant", ["tire-plant", "appliance-plant"])
def test_a_shift_is_believable(plant: str):
    """A process engineer looks first at takt, OEE, scrap and counters of each line."""
    shift = Shift(plant)
    for one in shift.plant.lines:
        totals = [shift.total(stage) for stage in one.stages]
        believable_oee(one, totals)
        believable_scrap(one, totals)
        agreeing_counters(one, totals)


Totals = list[tuple[int, int, int]]
"""Finished, good and rejected parts of each stage."""


def documented(words: str) -> tuple[float, float]:
    """Return the lowest and the highest fraction that the documentation states in these words."""
    text = " ".join((Path(__file__).parents[2] / "docs" / "simulators.md").read_text(encoding="utf-8").split())
    [(lowest, highest)] = re.findall(words.format(r"([\d.]+) to ([\d.]+) percent"), text)
    return float(lowest) / 100, float(highest) / 100


def believable_oee(one: Line, totals: Totals) -> None:
    """Compare the good parts at the end of a line with the capacity of its bottleneck without a stop."""
    lowest, highest = documented("an OEE of {} at each line's bottleneck")
    assert (lowest, highest) == (0.75, 0.95)
    slowest = max(stage.takt for stage in one.stages)
    assert lowest <= totals[-1][1] * slowest / (8 * HOUR) <= highest, one.name
    for stage, (made, _, _) in zip(one.stages, totals, strict=True):
        assert 8 * HOUR / made >= stage.takt * 0.99, "no stage is faster than its takt"


def believable_scrap(one: Line, totals: Totals) -> None:
    """Compare the rejects of all machines of a line with its parts; a slow line may have none in a shift."""
    lowest, highest = documented("{} of rejected parts, over all machines of a line")
    assert (lowest, highest) == (0.002, 0.05)
    scrap = sum(rejects for _, _, rejects in totals) / totals[0][0]
    assert scrap <= highest, one.name
    if totals[0][0] > 500:
        assert scrap >= lowest, one.name


def agreeing_counters(one: Line, totals: Totals) -> None:
    """Compare the parts that a stage passed on with those of the next stage; the parts in between may differ."""
    for (before, made), (after, had) in pairwise(zip(one.stages, totals, strict=True)):
        assert after.inlet is not None
        between = after.inlet.room + sum(len(list(stage.each())) * stage.cavities for stage in (before, after))
        assert abs(made[1] - had[0]) <= between
        assert len(after.inlet.parts) <= after.inlet.room
    balance = one.balance
    assert balance.started == balance.good + balance.rejected + balance.inside
