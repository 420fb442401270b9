"""Measure the cost of derived points, in processor time per scan of 100 points, without I/O.

With `--libraries` measure libraries for CEL beside it, those that are installed: common-expression-language (`cel`)
and cel-python (`celpy`).
"""

from __future__ import annotations

import argparse
import asyncio
import logging
from dataclasses import replace
from importlib import import_module
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog
from steps import least

from drivers import protocol
from drivers.base import Connection, Group, Scan
from drivers.modbus.source import ModbusSource
from gateway.common.clock import Clock
from gateway.model.ledger import Ledger
from gateway.model.path import MachinePath
from gateway.pipeline.calculations import Calculations
from gateway.pipeline.derive import MachineDerivation, group_of
from gateway.pipeline.machine_status import MachineStatuses
from gateway.pipeline.normalize import TrustedTime
from gateway.pipeline.pipeline import Pipeline
from gateway.settings.derivation import DerivedPoints, OnLine
from gateway.settings.document import Document
from gateway.settings.expressions.check import check
from gateway.settings.expressions.program import Input
from gateway.settings.expressions.runtime import quick
from gateway.settings.factory import Machine, Place
from gateway.settings.line_points import LinePoints
from gateway.settings.point import Point, ValueType
from gateway.settings.point_builder import Written
from gateway.settings.quantities import NUMBER

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

POINTS, SECOND = 100, 1_000_000
PATH = MachinePath("acme", "north", "curing", "curing-1", "press-01")

EXPRESSIONS = {
    "a condition": "a > 165.0 && b < 178.0",
    "a quotient of differences": "difference(a) / max(difference(b), 1)",
    "rate": "rate(a)",
    "time_in": "time_in(a > 165.0)",
    "filtered": "filtered(a, 5s)",
    "mean_over": "mean_over(a, 60s)",
    "lookup": "lookup(a, tank)",
}
TABLES = {"tank": tuple((float(x), float(x * x)) for x in range(0, 1000, 10))}
PLAIN = "a > 165.0 && a < 178.0 ? a / b : 0.0"


def make_points() -> list[Point]:
    names = ["a", "b", *(f"value_{i:03d}" for i in range(POINTS - 2))]
    sources = (ModbusSource.model_validate({"address": f"holding {2 * i}", "raw": "float32"}) for i in range(POINTS))
    return [
        Point.model_validate({"name": name, "source": source}) for name, source in zip(names, sources, strict=True)
    ]


def derived(points: Sequence[Point], expressions: Sequence[str]) -> tuple[Point, ...]:
    place = Place(Document(Path("t.yaml"), {}), ())
    written = {
        f"derived_{i}": Written({}, {}, place).over({"expression": text}, place) for i, text in enumerate(expressions)
    }
    found = DerivedPoints(written, TABLES).build(points, (), {})
    assert len(found) == len(expressions), place.document.problems
    return found


def pipeline(expressions: Sequence[str]) -> Callable[[], None]:
    """Return a step that takes the next scan of a machine with some derived points."""
    points = make_points()
    ledger, statuses = Ledger(), MachineStatuses(Clock())
    sources = tuple(point.source for point in points)
    group = Group(str(PATH), Connection(), tuple(point.name for point in points), sources, 1.0)

    def make(points: Sequence[Point]) -> Pipeline:
        return Pipeline(points, TrustedTime(), statuses, ledger, lambda _, __: None)

    whole = make(points)
    if expressions:
        calculated = derived(points, expressions)
        own = group_of(str(PATH), Connection(), calculated)
        statuses.add(PATH, [group], own)
        whole.follow = MachineDerivation(own, calculated, make(calculated).take).step(group)
    else:
        statuses.add(PATH, [group])
    values = [170.0 + i for i in range(POINTS)]
    times = iter(range(SECOND, 10**15, SECOND))
    for at in (0.0, 1.0):  # each state is there, and each point was good
        whole.take(Scan(group, next(times), [at, *values[1:]]))
    return lambda: whole.take(Scan(group, next(times), list(values)))


def tied() -> Callable[[], None]:
    """Return a step that takes the next scan of two machines in turn; points of the first use those of the second."""
    points = make_points()
    ledger, statuses = Ledger(), MachineStatuses(Clock())
    names = tuple(point.name for point in points)
    sources = tuple(point.source for point in points)
    paths = [PATH._replace(machine=name) for name in ("press-01", "press-02")]
    line = LinePoints(PATH.line, lambda _: ())
    line.add("press-02", tuple(points), ())
    place = Place(Document(Path("t.yaml"), {}), ())
    written = {
        f"derived_{i}": Written({}, {}, place).over(
            {"expression": f'`{name}` - line["press-02"].`{name}` > 0.5'}, place
        )
        for i, name in enumerate(names[:10])
    }
    calculated = DerivedPoints(written, {}).begin(points, (), {}, OnLine("press-01", line)).all()
    assert len(calculated) == len(written), place.document.problems
    machines = [Machine(path, "t", protocol("modbus"), Connection(), tuple(points)) for path in paths]
    machines[0] = replace(machines[0], derived=calculated)
    groups = [Group(str(path), Connection(), names, sources, 1.0) for path in paths]

    def make(points: Sequence[Point]) -> Pipeline:
        return Pipeline(points, TrustedTime(), statuses, ledger, lambda _, __: None)

    own = group_of(str(paths[0]), Connection(), calculated)
    statuses.add(paths[0], [groups[0]], own)
    statuses.add(paths[1], [groups[1]])
    calculations = Calculations()
    calculations.configure(str(paths[0]), [MachineDerivation(own, calculated, make(calculated).take)])
    calculations.tie(machines)
    pipelines = [make(points) for _ in groups]
    for group, whole in zip(groups, pipelines, strict=True):
        whole.follow = calculations.follow(group.machine, group)
    values = [170.0 + i for i in range(POINTS)]
    times = iter(range(SECOND, 10**15, SECOND))
    for group, whole in zip(groups, pipelines, strict=True):
        whole.take(Scan(group, next(times), list(values)))
    turns = cycle(zip(groups, pipelines, strict=True))

    def take() -> None:
        group, whole = next(turns)
        whole.take(Scan(group, next(times), list(values)))

    return take


def saving() -> Callable[[], bytes]:
    """Return a step that saves the states of a machine with all expressions, after two minutes."""
    points = make_points()
    calculated = derived(points, list(EXPRESSIONS.values()))
    own = group_of(str(PATH), Connection(), calculated)
    derivation = MachineDerivation(own, calculated, lambda _: None)
    group = Group(str(PATH), Connection(), tuple(point.name for point in points), (), 1.0)
    take = derivation.step(group)
    assert take is not None
    for second in range(120):
        take(Scan(group, second * SECOND, [170.0 + second] * POINTS))
    return derivation.save


def measure_points() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))

    async def run() -> dict[str, float]:
        steps = {"": pipeline(())} | {name: pipeline([text] * 10) for name, text in EXPRESSIONS.items()}
        return least(steps | {"a condition, of two machines": tied(), "save": saving()})

    found = asyncio.run(run())
    base, save = found.pop(""), found.pop("save")
    print(f"{'without derived points':<28} {base:6.1f} us a scan of {POINTS} points")
    for name, whole in found.items():
        print(f"{name:<28} {(whole - base) / 10:6.2f} us a derived reading, from its inputs to the record")
    print(f"{'save':<28} {save:6.2f} us a commit for the states of a machine with all of these expressions")


def measure_libraries() -> None:
    inputs = {name: Input(name, ValueType.FLOAT, NUMBER) for name in "ab"}
    compiled, values = quick(check(PLAIN, inputs, {}).result, {0: 0, 1: 1}), [170.0, 2.0]
    steps: dict[str, Callable[[], object]] = {"compiled to Python": lambda: compiled(values)}
    for name in ("cel", "celpy"):
        try:
            module: Any = import_module(name)
        except ImportError:
            print(f"{name} is not installed")
            continue
        if name == "cel":
            program = module.compile(PLAIN)
            steps["common-expression-language"] = lambda program=program: program.execute({"a": 170.0, "b": 2.0})
        else:
            environment = module.Environment()
            runner = environment.program(environment.compile(PLAIN))
            given = {"a": module.celtypes.DoubleType(170.0), "b": module.celtypes.DoubleType(2.0)}
            steps["cel-python"] = lambda runner=runner, given=given: runner.evaluate(given)
    for name, microseconds in least(steps).items():
        print(f"{name:<28} {microseconds:8.2f} us an evaluation of {PLAIN}")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--libraries", action="store_true", help="compare libraries for CEL")
    if options.parse_args().libraries:
        measure_libraries()
    else:
        measure_points()


if __name__ == "__main__":
    main()
