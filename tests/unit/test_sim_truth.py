"""The truth log: the same seed gives the same file, and the file contains the readings of a perfect reader."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from points import group_of

from drivers.base import Scan, ValueType
from drivers.modbus.codec import compile_registers
from gateway.pipeline.normalize import Normalizer
from gateway.settings.load import load_factory
from gateway.settings.templates import bundled_config
from simulators.faults.catalogue import parse_fault, random_faults
from simulators.faults.injector import Injector
from simulators.machines.plant import Plant
from simulators.modbus.registers import RegisterMap, Unit
from simulators.truth import Truth, TruthLog, as_read_back, machine_name

if TYPE_CHECKING:
    from drivers.modbus.source import ModbusSource
    from gateway.settings.point import Point


EVERY_TYPE = Path(__file__).parents[1] / "cases" / "third_factory" / "factory.yaml"


factory = cache(load_factory)


def record(
    file: Path,
    seed: str,
    plant: str,
    faults: tuple[str, ...] = (),
    dt: float = 0.2,
    steps: int = 300,
    random: float | None = None,
    machines: str = "",
) -> None:
    """Write the truth of some steps, each of a fifth of a second by the wall clock; of all machines by default."""
    whole = factory(bundled_config() / f"{plant}.yaml")
    chosen = tuple(machine for machine in whole.machines if machine.path.machine.startswith(machines))
    one = Plant(replace(whole, machines=chosen), seed)
    shown = [machine for _, machine in one.machines]
    drawn = random_faults(shown, seed, random, dt * steps) if random is not None else ()
    injector = Injector([*(parse_fault(fault, shown, seed) for fault in faults), *drawn])
    with TruthLog(file, shown) as log:
        for i in range(steps):
            one.step(dt)
            log.write(one.clock, 1_000_000 + 200_000 * i, injector.step(one.clock))


@pytest.mark.parametrize("plant", ["tire-plant", "appliance-plant"])
def test_the_same_seed_gives_the_same_log_byte_for_byte(tmp_path: Path, plant: str):
    """A failure in a simulated plant can be run again, and the runs compared."""
    faults = ("press-03.bladder_pressure_left:drift@10s", "press-04:silence@5s+5s") if plant == "tire-plant" else ()
    for name, seed in (("one", "7"), ("two", "7"), ("three", "8")):
        record(tmp_path / name, seed, plant, faults, steps=150)
    one, two, three = ((tmp_path / name).read_bytes() for name in ("one", "two", "three"))
    assert len(one) > 50_000
    assert one == two
    assert one != three


PRINT_LOG = """
import hashlib, pathlib, sys
from itertools import product
from test_sim_truth import record
file = pathlib.Path(sys.argv[1])
for plant, dt in product(("tire-plant", "appliance-plant"), (0.2, 12.0)):
    record(file, "7", plant, random=5 * dt, steps=50, dt=dt)
    print(hashlib.sha256(file.read_bytes()).hexdigest(), file.stat().st_size, file=sys.stderr)
"""


def test_other_processes_write_the_same_log(tmp_path: Path):
    """Whatever the order of sets there; with faults at random, at 1x and at 60x speed."""
    outputs = []
    for hash_seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(Path(__file__).parents[1])}
        command = [sys.executable, "-c", PRINT_LOG, str(tmp_path / f"log{hash_seed}")]
        ran = subprocess.run(
            command, cwd=Path(__file__).parent, env=environment, capture_output=True, text=True, check=True
        )
        outputs.append(ran.stderr.split())
    assert outputs[0] == outputs[1]
    assert min(int(size) for size in outputs[0][1::2]) > 50_000


def test_speed_keeps_the_shape(tmp_path: Path):
    """At 60x a cycle has the same duration, phases and peaks, in simulated time."""
    peaks = []
    for dt, steps in ((0.5, 3200), (12.0, 134)):
        record(tmp_path / "log", "7", "tire-plant", dt=dt, steps=steps, machines="press-01")
        truth = Truth(tmp_path / "log")
        press = "curing/curing-1/press-01"
        pressures = [
            value
            for value in truth.values_between(press, "bladder_pressure_left", 0, 10**12)
            if isinstance(value, float)
        ]
        times = [value for value in truth.values_between(press, "cycle_time_last", 0, 10**12) if value]
        peaks.append((max(pressures), times[0]))
    (slow_peak, slow_time), (fast_peak, fast_time) = peaks
    assert fast_peak == pytest.approx(slow_peak, abs=0.3)
    assert fast_time == pytest.approx(cast("float", slow_time), rel=0.02)


def test_a_log_returns_the_values_between_two_times(tmp_path: Path):
    """A reading is right when its value was shown at about its time."""
    record(tmp_path / "log", "7", "tire-plant", ("press-03.bladder_pressure_left:sensor_break@2s+2s",), steps=50)
    truth = Truth(tmp_path / "log")
    press = "curing/curing-1/press-03"
    assert truth.faults == [
        {"t": 2_000_000, "fault": "press-03.bladder_pressure_left:sensor_break", "active": True},
        {"t": 4_000_000, "fault": "press-03.bladder_pressure_left:sensor_break", "active": False},
    ]
    heartbeat = truth.values_between(press, "heartbeat", 1_000_000, 1_000_000)
    assert len(heartbeat) == 1
    later = truth.values_between(press, "heartbeat", 1_000_000, 11_000_000)
    assert later == list(range(cast("int", later[0]), cast("int", later[0]) + len(later)))
    assert len(later) in {10, 11}
    assert truth.agrees(press, "heartbeat", cast("int", later[3]), 1_000_000 + 3_000_000)
    assert not truth.agrees(press, "heartbeat", cast("int", later[3]), 9_000_000)
    assert not truth.agrees(press, "heartbeat", float(cast("int", later[3])), 4_000_000), "another type"
    assert None in truth.values_between(press, "bladder_pressure_left", 0, 11_000_000)


def test_a_log_returns_the_longest_deviation_of_a_value(tmp_path: Path):
    """A value that trembles about its rest returns to it between two samples; a counter never does."""
    record(tmp_path / "log", "7", "tire-plant", ("press-03.bladder_pressure_left:sensor_break@2s+2s",), steps=50)
    truth = Truth(tmp_path / "log")
    press = "curing/curing-1/press-03"
    assert truth.longest_deviation(press, "recipe", 1_000_000, 9_000_000) == 0
    assert truth.longest_deviation(press, "heartbeat", 1_000_000, 9_000_000) in range(7_000_000, 8_000_001)
    assert truth.longest_deviation(press, "alarm_word", 1_000_000, 1_000_000) == 0


@given(seed=st.text("abc", max_size=4), clock=st.floats(0.2, 5000.0))
def test_the_log_has_the_values_that_the_gateway_reads(seed: str, clock: float):
    """Through registers and normalization, bit for bit: every Modbus point of both plants, and every type."""
    for configured, shown, unit in _units():
        shown.machine.step(clock % 1.0 + 0.1)
        values = shown.values()
        unit.refresh()
        points = [point for point in configured.points if not cast("ModbusSource", point.source).address.table.bits]
        scan = Scan(group_of(points), round(clock * 1e6) + 10**15, [_decoded(unit, point) for point in points])
        Normalizer(points).apply(scan)
        assert scan.faults == {}
        for point, value in zip(points, scan.values, strict=True):
            truth = as_read_back(point)(values[point.name])
            assert type(value) is type(truth)
            same = value == pytest.approx(truth, rel=1e-9) if point.type is ValueType.FLOAT else value == truth
            assert same, f"{configured.path.machine}.{point.name} {seed}"


def _decoded(unit: Unit, point: Point) -> Any:
    source = cast("ModbusSource", point.source)
    registers = unit.tables[source.address.table][source.address.offset : source.address.offset + source.size]
    return compile_registers([(0, source)])(b"".join(register.to_bytes(2, "big") for register in registers))[0]


@cache
def _units() -> list[tuple[Any, Any, Unit]]:
    found = []
    for file in (*(bundled_config() / f"{name}.yaml" for name in ("tire-plant", "appliance-plant")), EVERY_TYPE):
        for configured, shown in Plant(factory(file), "seed").machines:
            if configured.protocol.name == "modbus":
                unit = Unit()
                unit.add(RegisterMap(configured.points), shown)
                found.append((configured, shown, unit))
                assert machine_name(shown)
    return found
