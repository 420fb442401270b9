"""The production of the bundled plants against the truth of their simulators."""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from drivers.base import Group, Scan
from drivers.packml import State
from gateway.model.production import SECOND, TimeState
from gateway.pipeline.calculation import Surroundings
from gateway.pipeline.production import MachineProduction
from gateway.settings.load import load_factory
from simulators.machines.machine import Machine
from simulators.machines.plant import Plant

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.settings.point import Point

CONFIG = Path(__file__).parents[2] / "config"
BEGIN = (
    1_764_561_600 + 5400
) * SECOND  # 2025-12-01 13:30 in Shanghai: half an hour before the end of the early shift
SPAN = 1800
SECONDS = SPAN + 60

WAITING = {State.SUSPENDING, State.SUSPENDED, State.UNSUSPENDING}
PRODUCING = {State.EXECUTE, State.COMPLETING}
SETUP = {State.STARTING, State.RESETTING, State.COMPLETE}


def category(state: State) -> TimeState:
    """Return the category of a state, as docs/production.md has it."""
    if state in PRODUCING:
        return TimeState.PRODUCTION
    if state in WAITING:
        return TimeState.WAITING
    if state in SETUP:
        return TimeState.SETUP
    return TimeState.IDLE if state is State.IDLE else TimeState.DOWN


@pytest.mark.slow
@pytest.mark.parametrize("plant", ["tire-plant", "appliance-plant"])
def test_times_and_parts_are_those_of_the_machines(plant: str) -> None:
    """Each second of each machine is in the category of its state, and each part is counted."""
    factory = load_factory(CONFIG / f"{plant}.yaml")
    models = Plant(factory, "oee")
    now = BEGIN
    rows: dict[str, list[dict[str, Any]]] = {}

    def sink(own: list[dict[str, Any]], group: Group, points: Sequence[Point]) -> Any:
        del points
        return lambda scan: own.extend(map(orjson.loads, scan.values)) if group.events else None

    found = []
    for configured, outputs in models.machines:
        own = rows.setdefault(str(configured.path), [])
        around = Surroundings(partial(sink, own), lambda: now, lambda: 0.0, lambda: None)
        calculation = MachineProduction.of(configured, around)
        assert calculation is not None
        needed = [point.name for point in configured.production.production.points.values()]  # type: ignore[union-attr]
        group = Group(str(configured.path), configured.connection, tuple(needed), (), 1.0)
        calculation._pushed, calculation._hold = False, 3.0 * SECOND  # noqa: SLF001 - all are polled here
        step = calculation.step(group)
        assert step is not None
        found.append((configured, outputs, calculation, group, step))
    times: dict[str, Counter[TimeState]] = {path: Counter() for path in rows}
    before: dict[str, tuple[int, int]] = {}
    last: dict[str, tuple[int, int]] = {}
    for second in range(SECONDS):
        for configured, outputs, _, group, step in found:
            values = outputs.values()
            path = str(configured.path)
            step(Scan(group, now, [values[name] for name in group.names]))
            if second < SPAN:
                times[path][category(State(values["state"]))] += 1
            counts = int(values["good_count"] or 0), int(values["reject_count"] or 0)
            before.setdefault(path, counts)
            if second < SPAN:
                last[path] = counts
        models.step(1.0)
        now += SECOND
    for configured, *_ in found:
        path = str(configured.path)
        [row] = [one for one in rows[path] if one.get("kind") == "shift"]
        assert row["shift"] == "2025-12-01/early"
        assert {state: row[f"{state}_time"] for state in times[path]} == dict(times[path])
        good, reject = (one - other for one, other in zip(last[path], before[path], strict=True))
        assert (row["good"], row["reject"]) == (good, reject)
        assert row["unknown_time"] == 8 * 3600 - SPAN - 900
        if row["performance"] is not None and row["parts"] > 10:
            assert 0.5 < row["performance"] < 1.25  # half an hour has few parts


def test_the_models_are_those_of_machines() -> None:
    """Else the truth would be generic signals."""
    models = Plant(load_factory(CONFIG / "tire-plant.yaml"), "oee")
    assert any(isinstance(outputs.machine, Machine) for _, outputs in models.machines)
