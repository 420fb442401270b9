"""Measure the cost of alarms, in processor time, without I/O: of the bundled plants, and of 10,000 alarms.

python benchmarks/alarms.py            a scan with and without alarms; a second of each bundled plant
python benchmarks/alarms.py --many     10,000 alarms on 1,000 machines, 1,000 of them standing: seconds and memory
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import resource
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from drivers.base import Connection, Group, Scan
from drivers.modbus.source import ModbusSource
from gateway.acquisition.groups import groups_of
from gateway.common.clock import Clock
from gateway.model.ledger import Ledger
from gateway.model.path import MachinePath
from gateway.pipeline.calculation import Surroundings
from gateway.pipeline.calculations import Calculations, calculations_of, follow
from gateway.pipeline.machine_status import MachineStatuses
from gateway.pipeline.normalize import TrustedTime
from gateway.pipeline.pipeline import Pipeline
from gateway.settings.alarm_set import NO_ALARMS
from gateway.settings.alarms import ALARM_POINTS, AlarmTable
from gateway.settings.document import Document
from gateway.settings.factory import Machine, Place
from gateway.settings.load import load_factory
from gateway.settings.point import Point
from gateway.settings.point_builder import Written
from gateway.settings.templates import bundled_config
from simulators.machines.plant import Plant, raw_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SECOND = 1_000_000
PLANT_SECONDS = 120


class Flow:
    """The flow of some machines, from a scan to its record."""

    def __init__(self, machines: Sequence[Machine]) -> None:
        self.calculations = Calculations()
        self.seconds = 0.0
        self.records = 0
        ledger, statuses, clock = Ledger(), MachineStatuses(Clock()), TrustedTime()
        self.groups: list[tuple[Machine, Group, Sequence[Point], Pipeline]] = []

        def put(_: object, __: int) -> None:
            self.records += 1

        for machine in machines:
            results: dict[Group, Pipeline] = {}

            def sink(
                group: Group, points: Sequence[Point], results: dict[Group, Pipeline] = results
            ) -> Callable[[Scan], None]:
                results[group] = Pipeline(points, clock, statuses, lambda: ledger, put)
                return results[group].take

            surroundings = Surroundings(
                sink, lambda: round(self.seconds * SECOND), lambda: self.seconds, lambda: None
            )
            calculations = calculations_of(machine, surroundings)
            self.calculations.configure(str(machine.path), calculations)
            own = [(group, points, Pipeline(points, clock, statuses, lambda: ledger, put))
                   for group, points in groups_of(machine)]  # fmt: skip
            derived = next((group for group in results if not group.events), None)
            read = [group for group, _, _ in own if not group.events]
            statuses.add(machine.path, read, derived)
            for group, pipeline in [*((group, pipeline) for group, _, pipeline in own), *results.items()]:
                pipeline.follow = follow(calculations, group)
            self.groups += [(machine, group, points, pipeline) for group, points, pipeline in own]


def plant(name: str, *, alarms: bool) -> tuple[float, int]:
    """Return microseconds of processor time for a second of a bundled plant, and the number of its alarms."""
    factory = load_factory(bundled_config() / f"{name}-plant.yaml")
    machines = [one if alarms else replace(one, alarms=NO_ALARMS, results=()) for one in factory.machines]
    simulated, flow = Plant(factory, "seed"), Flow(machines)
    outputs = {str(machine.path): one for machine, one in simulated.machines}
    raws = {id(points): [raw_of(point) for point in points] for _, _, points, _ in flow.groups}
    spent = 0.0
    for second in range(PLANT_SECONDS):
        simulated.step(1.0)
        values = {path: one.values() for path, one in outputs.items()}
        scans = [
            (pipeline, Scan(group, (second + 1) * SECOND, [
                None if (value := values[str(machine.path)][point.name]) is None else raw(value)
                for point, raw in zip(points, raws[id(points)], strict=True)
            ])) for machine, group, points, pipeline in flow.groups
        ]  # fmt: skip
        flow.seconds = second + 1.0
        began = time.process_time()
        for pipeline, scan in scans:
            pipeline.take(scan)
        flow.calculations.tick(flow.seconds)
        flow.calculations.take_changed()
        spent += time.process_time() - began
    return spent / PLANT_SECONDS * 1e6, sum(len(machine.alarms.alarms) for machine in machines)


def many(machines: int, each: int, rounds: int) -> None:
    """Print the cost of many alarms while a tenth of them is active, and the memory at the beginning and the end."""
    points = tuple(
        Point.model_validate(
            {
                "name": f"p{i}",
                "source": ModbusSource.model_validate({"address": f"holding {2 * i}", "raw": "float32"}),
            }
        )
        for i in range(each)
    )
    place = Place(Document(Path("t.yaml"), {}), ())
    written: dict[str, Written] = {
        f"a{i}": Written({}, {}, place).over({"point": f"p{i}", "high": 10, "deadband": 1, "on_delay": "2s"}, place)
        for i in range(each)
    }
    alarms = AlarmTable(written, {}).build(points, (), {})
    assert len(alarms.alarms) == each, place.document.problems
    protocol: Any = type("Protocol", (), {"name": "modbus"})
    made = [
        Machine(MachinePath("e", "s", "a", "l", f"m-{n:04d}"), "t", protocol, Connection(), points,
                results=ALARM_POINTS, alarms=alarms)
        for n in range(machines)
    ]  # fmt: skip
    for label, with_alarms in (("without alarms", False), ("with alarms", True)):
        flow = Flow(made if with_alarms else [replace(one, alarms=NO_ALARMS, results=()) for one in made])
        costs = []
        for second in range(rounds):
            flow.seconds = second + 1.0
            high = [11.0, *[5.0 + second % 3] * (each - 1)]  # one of each machine is active
            scans = [
                (pipeline, Scan(group, (second + 1) * SECOND, list(high))) for _, group, _, pipeline in flow.groups
            ]
            began = time.process_time()
            for pipeline, scan in scans:
                pipeline.take(scan)
            flow.calculations.tick(flow.seconds)
            flow.calculations.take_changed()
            costs.append(time.process_time() - began)
            if second in {rounds // 5, rounds - 1}:
                megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
                print(f"{label:<16} after {second + 1:>4} s: {megabytes:6.0f} MB at most")
        standing, _ = flow.calculations.count_alarms()
        tenth = max(1, rounds // 10)
        print(f"{label:<16} {machines * each:,} points, {standing.total():,} alarms stand: "
              f"{min(costs[tenth:2 * tenth + 1]) * 1e3:6.1f} ms a second at first, {min(costs[-tenth:]) * 1e3:6.1f} ms at the end")  # fmt: skip


async def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--many", action="store_true", help="10,000 alarms on 1,000 machines")
    if options.parse_args().many:
        many(1000, 10, 60)
        return
    for name in ("tire", "appliance"):
        before, _ = plant(name, alarms=False)
        after, number = plant(name, alarms=True)
        print(f"{name:<10} {number:>3} alarms: {before:7.0f} us a second without, {after:7.0f} with: {after / before - 1:+.1%} "
              "of the steps after the driver and before the record")  # fmt: skip


if __name__ == "__main__":
    asyncio.run(main())
