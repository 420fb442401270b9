"""Measure the cost of production, in processor time per scan of 100 points, without I/O.

With `--plants` measure the calculations of the bundled plants beside their whole flow, for one scan of each group of
each machine: with production, and without.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog
from steps import least

from drivers.base import Connection, Group, Scan
from drivers.modbus.source import ModbusSource
from gateway.acquisition.groups import groups_of
from gateway.codecs import CODECS
from gateway.common.clock import Clock
from gateway.model.ledger import Ledger
from gateway.model.path import MachinePath
from gateway.model.receipt import new_tag
from gateway.model.record import Record
from gateway.pipeline.calculation import Surroundings
from gateway.pipeline.calculations import calculations_of, follow
from gateway.pipeline.machine_status import MachineStatuses
from gateway.pipeline.normalize import TrustedTime
from gateway.pipeline.pipeline import Pipeline
from gateway.pipeline.production import MachineProduction
from gateway.settings.calendar import CalendarSection
from gateway.settings.document import Document
from gateway.settings.factory import Machine, Place
from gateway.settings.load import load_factory
from gateway.settings.point import Point
from gateway.settings.point_builder import Written
from gateway.settings.production import Planned, build
from simulators.machines.plant import Plant

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.pipeline.calculation import Calculation

POINTS, SECOND = 100, 1_000_000
BEGIN = 1_764_561_600 * SECOND
PATH = MachinePath("acme", "north", "curing", "curing-1", "press-01")
CONFIG = Path(__file__).parent.parent / "config"
LABELS = {4: "idle", 5: "suspended", 6: "execute", 11: "held"}


def make_points() -> list[Point]:
    names = ["state", "good", "reject", "cycle_time", *(f"value_{i:03d}" for i in range(POINTS - 4))]
    found = []
    for i, name in enumerate(names):
        source = ModbusSource.model_validate({"address": f"holding {2 * i}", "raw": "uint32" if i < 3 else "float32"})
        keys = {"labels": LABELS} if name == "state" else {"unit": "s"} if name == "cycle_time" else {}
        found.append(Point.model_validate({"name": name, "source": source} | keys))
    return found


class Bench:
    """One machine with 100 points, in one group."""

    def __init__(self, *, has_production: bool) -> None:
        points = make_points()
        ledger, statuses = Ledger(), MachineStatuses(Clock())
        self.now = BEGIN

        def pipeline(points: Sequence[Point], statuses: MachineStatuses | None) -> Pipeline:
            return Pipeline(points, TrustedTime(), statuses, ledger, lambda _, __: None)

        whole = pipeline(points, statuses)
        sources = tuple(point.source for point in points)
        self.group = Group(str(PATH), Connection(), tuple(point.name for point in points), sources, 1.0)
        statuses.add(PATH, [self.group])
        self.calculation: MachineProduction | None = None
        if has_production:
            keys = {"state": "state", "good": "good", "reject": "reject", "cycle_time": "cycle_time",
                    "planned_cycle_time": "10s"}  # fmt: skip
            production = build(
                Written({}, {}, Place(Document(Path("t.yaml"), {}), ())).over(
                    keys, Place(Document(Path("t.yaml"), {}), ())
                ),
                points,
                (),
            )
            assert production is not None
            planned = Planned(production, CalendarSection())
            machine: Any = Machine(PATH, "t", None, Connection(), tuple(points), production=planned)  # type: ignore[arg-type]
            around = Surroundings(
                lambda _, points: pipeline(points, None).take, lambda: self.now, lambda: 0.0, lambda: None
            )
            self.calculation = MachineProduction.of(machine, around)
            assert self.calculation is not None
            whole.follow = self.calculation.step(self.group)
        self._take = whole.take
        self._values: list[Any] = [6, 0, 0, 10.0, *(170.0 + i for i in range(POINTS - 4))]

    def unchanged(self) -> None:
        self.now += SECOND
        self._take(Scan(self.group, self.now, list(self._values)))

    def part(self) -> None:
        """Take a scan with a finished part, of a machine that stops and goes on with each."""
        self._values[0] = 17 - self._values[0]
        self._values[1] += 1
        self.unchanged()

    def tick(self) -> None:
        assert self.calculation is not None
        self.now += 10 * SECOND
        self.calculation.tick(0.0)

    def save(self) -> None:
        assert self.calculation is not None
        self.calculation.save()


def measure_machine() -> None:
    async def run() -> dict[str, float]:
        without, having, parts, quiet = (Bench(has_production=one) for one in (False, True, True, True))
        for bench in (without, having, parts, quiet):
            bench.unchanged()
        return least({
            "without": without.unchanged, "unchanged": having.unchanged, "part": parts.part,
            "part without": Bench(has_production=False).part, "tick": quiet.tick, "save": quiet.save,
        })  # fmt: skip

    found = asyncio.run(run())
    print(f"{'without production':<28} {found['without']:6.2f} us a scan of {POINTS} points")
    print(f"{'with production':<28} {found['unchanged'] - found['without']:6.2f} us more, nothing changed")
    print(f"{'a part, and a stop':<28} {found['part'] - found['part without']:6.2f} us more, in a scan that has both")
    print(f"{'key figures':<28} {found['tick']:6.2f} us each ten seconds, to the records")
    print(f"{'state':<28} {found['save']:6.2f} us a commit with a change")


class PlantFlow:
    """The flow of all machines of a plant, from their scans to encoded records; a second is a step."""

    def __init__(self, name: str, *, has_production: bool) -> None:
        factory = load_factory(CONFIG / f"{name}.yaml")
        machines = factory.machines
        if not has_production:
            machines = tuple(replace(one, production=None, results=()) for one in machines)
        self.now = BEGIN
        self._models = Plant(factory, "bench")
        self._outputs = {configured.path: outputs for configured, outputs in self._models.machines}
        self._groups: list[tuple[Machine, Group, Callable[[Scan], None]]] = []
        self._calculations: list[Calculation] = []
        codec, ledger = CODECS[factory.gateway.codec], Ledger()
        for machine in machines:
            statuses = MachineStatuses(Clock())

            def put(scan: Any, _: int, meta: str = machine.meta.id) -> None:
                codec.encode(Record("edge", "spool", 1, [scan], meta, new_tag()))

            def pipeline(
                points: Sequence[Point], statuses: MachineStatuses | None, put: Callable[[Any, int], None] = put
            ) -> Pipeline:
                return Pipeline(points, TrustedTime(), statuses, ledger, put)

            groups = {group: pipeline(points, statuses) for group, points in groups_of(machine)}
            statuses.add(machine.path, list(groups))
            around = Surroundings(
                lambda _, points, make=pipeline: make(points, None).take, lambda: self.now, lambda: 0.0, lambda: None
            )
            calculations = calculations_of(machine, around)
            self._calculations += calculations
            for group, flow in groups.items():
                flow.follow = follow(calculations, group)
                self._groups.append((machine, group, flow.take))

    def scans(self) -> list[tuple[Callable[[Scan], None], Scan]]:
        """Return the scans of a second, before the gateway takes them."""
        self._models.step(1.0)
        self.now += SECOND
        values = {path: outputs.values() for path, outputs in self._outputs.items()}
        return [
            (take, Scan(group, self.now, [values[machine.path][name] for name in group.names]))
            for machine, group, take in self._groups
        ]

    def take(self, scans: Sequence[tuple[Callable[[Scan], None], Scan]]) -> None:
        for take, scan in scans:
            take(scan)
        if self.now // SECOND % 10 == 0:
            for one in self._calculations:
                one.tick(0.0)
        for one in self._calculations:
            if one.changed:
                one.save()


def trimmed(times: Sequence[int]) -> float:
    """Return the mean without the slowest quarter, which other work on this machine had slowed down."""
    kept = sorted(times)[: max(1, len(times) * 3 // 4)]
    return sum(kept) / len(kept)


def measure_plants(seconds: int) -> None:
    import time  # noqa: PLC0415 - for this measurement alone

    async def run(name: str) -> None:
        flows = [PlantFlow(name, has_production=one) for one in (False, True)]
        spent: list[list[int]] = [[], []]
        for second in range(seconds):
            for at in (second % 2, 1 - second % 2):  # each is the first as often as the other
                scans = flows[at].scans()
                began = time.thread_time_ns()
                flows[at].take(scans)
                spent[at].append(time.thread_time_ns() - began)
        without, having = (trimmed(one) / 1000 for one in spent)
        print(f"{name:<20} {without:8.1f} us a second without, {having - without:6.1f} us more with production:"
              f" {having / without - 1:.1%} of the steps from scan to record")  # fmt: skip

    for name in ("tire-plant", "appliance-plant"):
        asyncio.run(run(name))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--plants", type=int, metavar="SECONDS", help="measure the bundled plants for these seconds")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    if seconds := options.parse_args().plants:
        measure_plants(seconds)
    else:
        measure_machine()


if __name__ == "__main__":
    main()
