"""Measure the cost of alarms, in processor time, without I/O: of the bundled plants, and of 10,000 alarms.

python benchmarks/alarms.py            a scan with and without alarms; a second of each bundled plant
python benchmarks/alarms.py --many     1,000 and 10,000 alarms, ten of each machine, a tenth standing: start, memory, scans
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import resource
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import structlog

from drivers.base import Connection, Group, Scan
from drivers.modbus.source import ModbusSource
from gateway.acquisition.groups import groups_of
from gateway.common.clock import Clock
from gateway.model.ledger import Ledger
from gateway.model.path import MachinePath
from gateway.pipeline.calculation import Surroundings
from gateway.pipeline.calculations import Calculations, calculations_of, follow, saved_name
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
                results[group] = Pipeline(points, clock, statuses, ledger, put)
                return results[group].take

            surroundings = Surroundings(
                sink, lambda: round(self.seconds * SECOND), lambda: self.seconds, lambda: None
            )
            calculations = calculations_of(machine, surroundings)
            self.calculations.configure(str(machine.path), calculations)
            own = [(group, points, Pipeline(points, clock, statuses, ledger, put))
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


def many(each: int, rounds: int) -> None:
    """Print the cost of 1,000 and of 10,000 alarms, a tenth of them active, beside that of the same scans without."""
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

    def made(number: int) -> list[Machine]:
        return [
            Machine(MachinePath("e", "s", "a", "l", f"m-{n:04d}"), "t", protocol, Connection(), points,
                    results=ALARM_POINTS, alarms=alarms)
            for n in range(number)
        ]  # fmt: skip

    for number in (100, 1000):
        machines = made(number)
        bare = Flow([replace(one, alarms=NO_ALARMS, results=()) for one in machines])
        before = _resident()
        began = time.process_time()
        flow = Flow(machines)
        start = time.process_time() - began
        without, costs = _rounds(bare, each, rounds), _rounds(flow, each, rounds)
        standing, _ = flow.calculations.count_alarms()
        grown = _resident() - before
        _rounds(flow, each, rounds, rounds)
        grown_later = _resident() - before - grown
        states = {
            saved_name(one.kind, str(machine.path)): one.save()
            for machine in machines
            for one in flow.calculations.of(str(machine.path))
        }
        began = time.process_time()
        again = Flow(machines)
        again.calculations.restore(states)
        restart = time.process_time() - began
        first, last, none = (median(one) / number * 1e6 for one in (costs[5:20], costs[-15:], without[5:]))
        print(f"{number * each:>6,} alarms, {standing.total():>5,} stand: start {start * 1e3:5.0f} ms, "
              f"with states {restart * 1e3:5.0f} ms, {grown:5.1f} MB, then {grown_later:+.1f} MB; "
              f"a scan {none:4.1f} us without, {first:4.1f} at first, {last:4.1f} at the end")  # fmt: skip


def _rounds(flow: Flow, each: int, rounds: int, since: int = 0) -> list[float]:
    """Take a scan of each machine a second; return the seconds of processor time of each round."""
    costs = []
    for second in range(since, since + rounds):
        flow.seconds = second + 1.0
        high = [11.0, *[5.0 + second % 3] * (each - 1)]  # one of each machine is active
        scans = [(pipeline, Scan(group, (second + 1) * SECOND, list(high))) for _, group, _, pipeline in flow.groups]
        began = time.process_time()
        for pipeline, scan in scans:
            pipeline.take(scan)
        flow.calculations.tick(flow.seconds)
        flow.calculations.take_changed()
        costs.append(time.process_time() - began)
    return costs


def _resident() -> float:
    """Return the resident memory in MB."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


async def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--many", action="store_true", help="1,000 and 10,000 alarms, of ten each machine")
    if options.parse_args().many:
        many(10, 60)
        return
    for name in ("tire", "appliance"):
        before, _ = plant(name, alarms=False)
        after, number = plant(name, alarms=True)
        print(f"{name:<10} {number:>3} alarms: {before:7.0f} us a second without, {after:7.0f} with: {after / before - 1:+.1%} "
              "of the steps after the driver and before the record")  # fmt: skip


if __name__ == "__main__":
    asyncio.run(main())
