"""Every machine type has a model, and its template describes what the model shows."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from drivers.base import ValueType
from drivers.modbus.codec import encode
from drivers.modbus.source import ModbusSource
from gateway.settings.document import Document
from gateway.settings.templates import Templates, bundled_config
from simulators.machines import models
from simulators.machines.models import MODELS
from simulators.machines.models.curing_press import CURED
from simulators.machines.parts import Buffer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drivers.base import Value
    from gateway.settings.point import Point
    from simulators.machines.machine import Machine

STEP = 0.5
TYPES = {ValueType.BOOL: bool, ValueType.INT: int, ValueType.FLOAT: float, ValueType.STRING: str}

every_model = pytest.mark.parametrize("name", MODELS)


@cache
def points(name: str) -> tuple[Point, ...]:
    document = Document(bundled_config() / "a-factory.yaml", {})
    templates = Templates(document)
    template = templates.get(name, ("template",))
    assert [*document.problems, *templates.problems] == []
    assert template is not None
    return template.points


def machine(name: str, seed: str = "seed") -> Machine:
    return MODELS[name](f"{name}-01", seed)


def steps(one: Machine, cycles: int) -> Iterator[dict[str, Value]]:
    """Run until so many parts are finished; yield the signals of the machine after each step."""
    yield one.signals
    limit = one.clock + 2.0 * cycles * one.cycle + 60.0
    while one.cycles < cycles:
        assert one.clock < limit, "the machine takes twice as long as it says"
        one.step(STEP)
        yield one.signals


@pytest.mark.parametrize("file", sorted(Path(models.__file__).parent.glob("*.py")), ids=lambda file: file.stem)
def test_a_model_is_short(file: Path) -> None:
    """A new machine type is an afternoon's work: code that several types need belongs in a shared module."""
    assert len(file.read_text(encoding="utf-8").splitlines()) <= 150


@every_model
def test_signals_are_the_points_of_the_template(name: str) -> None:
    """A point without a signal would read as bad in a demo; a signal without a point would be invisible."""
    one = machine(name)
    assert set(one.signals) == {point.name for point in points(name)}
    one.step(STEP)
    assert set(one.signals) == {point.name for point in points(name)}


@every_model
def test_signals_have_the_declared_types(name: str) -> None:
    """A point's type never changes: 0 where 0.0 belongs is another type on the wire."""
    expected = {point.name: TYPES[point.type] for point in points(name)}
    for signals in steps(machine(name), 2):
        wrong = {key: value for key, value in signals.items() if type(value) is not expected[key]}
        assert wrong == {}


@every_model
def test_numbers_stay_inside_their_range(name: str) -> None:
    """The range says which values can be: a healthy machine never leaves it."""
    for signals in steps(machine(name), 2):
        for point in points(name):
            assert_possible(point, signals[point.name])


@every_model
def test_a_starved_machine_rests_inside_its_ranges(name: str) -> None:
    """Most machines of a line wait now and then; ramps must end where they belong, not run away."""
    one = machine(name)
    for _ in steps(one, 1):
        pass
    one.inlet = Buffer(1)
    for _ in range(round(2.0 * one.cycle / STEP)):
        one.step(STEP)
    assert not one.working
    for point in points(name):
        assert_possible(point, one.signals[point.name])


def assert_possible(point: Point, value: Value) -> None:
    if isinstance(value, str):
        assert value.isascii(), point.name
    else:
        assert math.isfinite(value), point.name
    if point.range is not None:
        assert not isinstance(value, str)
        lowest, highest = point.range
        assert lowest <= value <= highest, f"{point.name} is {value}"
    if isinstance(value, int) and point.labels:
        assert value in point.labels, f"{point.name} is {value}"


@every_model
def test_values_fit_their_registers(name: str) -> None:
    """A simulated device has to put every value where the template says: scaled, in that many registers."""
    modbus = [(p, p.source) for p in points(name) if isinstance(p.source, ModbusSource)]
    for signals in steps(machine(name), 2 if modbus else 0):
        for point, source in modbus:
            value = signals[point.name]
            if isinstance(value, float):
                value = (value - point.offset) / point.scale
                value = round(value) if source.value_type is ValueType.INT else value
            encode(source, value)  # raises where it does not fit


@every_model
def test_points_share_no_registers_but_bits(name: str) -> None:
    """Two values in one register is a slip of the pen, unless they are bits of a status word."""
    owners: dict[tuple[str, int, int | None], str] = {}
    for point in points(name):
        if not isinstance(source := point.source, ModbusSource):
            continue
        for offset in range(source.address.offset, source.address.offset + source.size):
            for bit in range(16) if source.bit is None else (source.bit,):
                owner = owners.setdefault((source.address.table, offset, bit), point.name)
                assert owner == point.name, f"{point.name} and {owner} are both in {source.address}"


@every_model
def test_the_same_seed_gives_the_same_signals(name: str) -> None:
    """A failure in a simulated plant can be run again."""
    one, other = machine(name), machine(name)
    for _ in range(200):
        one.step(STEP)
        other.step(STEP)
        assert one.signals == other.signals


@every_model
def test_another_seed_gives_other_signals(name: str) -> None:
    """Two plants must not be copies of each other."""
    one, other = machine(name), machine(name, "another")
    for _ in range(200):
        one.step(STEP)
        other.step(STEP)
    assert one.signals != other.signals


@every_model
def test_parts_go_out_good_or_rejected(name: str) -> None:
    """Counters agree: every part that is finished is one or the other."""
    one = machine(name)
    one.outlet = Buffer(10)
    for signals in steps(one, 4):
        assert one.good + one.rejects == one.cycles * one.cavities
        assert (one.cycles, one.good, one.rejects) == tuple(
            signals[count] for count in ("cycle_count", "good_count", "reject_count")
        )
    assert one.cycles == 4
    assert len(one.outlet.parts) == one.good > 0
    assert one.signals["cycle_time_average"] == pytest.approx(one.cycle, rel=0.2)


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_press_cures_with_steam_and_nitrogen(side: str) -> None:
    """The published cycle: steam at 16 bar, nitrogen at 22 bar, and enough heat over time for a good tyre."""
    highest: dict[Value, float] = {}
    cure = 0.0
    for signals in steps(machine("curing-press"), 1):
        phase, pressure = signals["phase"], signals[f"bladder_pressure_{side}"]
        assert isinstance(pressure, float)
        highest[phase] = max(highest.get(phase, 0.0), pressure)
        cure = max(cure, float(signals[f"cure_integral_{side}"]))
    assert highest[3] == pytest.approx(16.0, abs=0.5)
    assert highest[4] == pytest.approx(22.0, abs=0.5)
    assert cure > CURED


def test_a_press_reports_the_mould_and_the_result_of_each_tyre() -> None:
    """Traceability: the serial number in a mould becomes that of its result, and the two tyres are two."""
    one = machine("curing-press")
    held = [(signals["serial_number_left"], signals["serial_number_right"]) for signals in steps(one, 2)]
    worked = [pair for pair in dict.fromkeys(held) if pair != ("", "")]
    assert worked[:2] == [("GTCURING-PRESS-01-000001", "GTCURING-PRESS-01-000002"),
                          ("GTCURING-PRESS-01-000003", "GTCURING-PRESS-01-000004")]  # fmt: skip
    signals = one.signals
    assert (signals["result_serial_number_left"], signals["result_serial_number_right"]) == worked[1]
    assert {signals["result_left"], signals["result_right"]} <= {1, 3}, "good, or blemished by chance"


WITHIN: dict[str, dict[str, tuple[float, float]]] = {
    "bead-winder": {"winding_speed": (150, 250), "wire_tension": (70, 95)},
    "calender": {"line_speed": (20, 60), "roll_1_temperature": (70, 90), "letoff_tension": (1, 5)},
    "curing-press": {
        "bladder_pressure_left": (21, 23), "bladder_temperature_right": (200, 208),
        "platen_temperature_upper": (165, 175),
    },
    "electrical-safety": {
        "earth_current": (10, 15), "hipot_voltage": (1000, 1500), "insulation_resistance": (2, 999),
    },
    "evacuation-charge": {"charge_weight": (30, 80), "circuit_pressure": (90_000, 110_000)},
    "foaming-station": {
        "polyol_pressure": (110, 170), "isocyanate_pressure": (110, 170), "core_temperature": (110, 130),
    },
    "injection-moulding": {"melt_temperature": (200, 240), "hold_pressure": (400, 800), "cushion_stroke": (5, 10)},
    "internal-mixer": {"rotor_power": (1000, 2000), "ram_pressure": (3, 6), "dump_temperature": (110, 155)},
    "leak-test": {"test_pressure": (550, 650), "differential_pressure": (0, 1000)},
    "packing-station": {"carton_weight": (50, 60), "strap_tension": (380, 450)},
    "run-test": {"power": (120, 150), "freezer_temperature": (20, 30)},
    "sheet-metal-press": {"stroke_rate": (20, 40), "tonnage_peak_left": (800, 1100)},
    "thermoformer": {"sheet_temperature": (140, 150), "air_pressure": (0.2, 0.35)},
    "tire-building-machine": {
        "ply_tension": (180, 220), "shaping_pressure": (0.5, 1.5), "green_tyre_weight": (8, 11),
        "drum_vibration": (0.5, 2.5),
    },
    "tread-extruder": {
        "melt_temperature": (95, 115), "melt_pressure": (80, 120), "throughput": (700, 850), "screw_speed": (10, 40),
    },
    "uniformity-machine": {
        "spindle_speed": (59, 61), "radial_force_variation": (5, 110), "static_unbalance": (0, 60),
    },
    "xray-machine": {"tube_voltage": (60, 70), "tube_temperature": (40, 60)},
}  # fmt: skip
"""Where the highest value of a quantity lies, cycle after cycle, in plants and papers: see each model."""

LOWEST: dict[str, dict[str, tuple[float, float]]] = {
    "evacuation-charge": {"circuit_pressure": (1, 11)},
    "internal-mixer": {"chamber_temperature": (25, 45)},
    "run-test": {"freezer_temperature": (-26, -18)},
    "thermoformer": {"vacuum": (-0.09, -0.07)},
    "uniformity-machine": {"spindle_speed": (-61, -59)},
}
"""The same of the lowest value."""


@every_model
def test_a_process_engineer_would_believe_the_numbers(name: str) -> None:
    """The ranges are those of published figures and of makers: pressures, temperatures, forces, speeds."""
    one = machine(name)
    for _ in steps(one, 1):
        pass  # from a cold start
    seen: dict[str, list[float]] = {}
    for signals in steps(one, 3):
        for signal in {*WITHIN[name], *LOWEST.get(name, {})}:
            seen.setdefault(signal, []).append(float(signals[signal]))
    for wanted, extreme in ((WITHIN[name], max), (LOWEST.get(name, {}), min)):
        for signal, (low, high) in wanted.items():
            assert low <= extreme(seen[signal]) <= high, f"{signal}: {extreme(seen[signal])}"


@pytest.mark.parametrize("recipe", ["LINER-215", "LINER-310"])
def test_sheets_are_formed_in_their_materials_window(recipe: str) -> None:
    """Polystyrene at 140 to 150 degrees, ABS at 160 to 170: other heaters, and other limits."""
    one = MODELS["thermoformer"]("former-01", "seed")
    while one.order.variant != list(one.recipes).index(recipe):
        one.order = one.orders.next_order()
    formed: list[float] = []
    while one.clock < one.changeover + 8 * one.cycle:
        one.step(STEP)
        if one.signals["phase"] == 3:
            formed.append(float(one.signals["sheet_temperature"]))
    low, high = (138, 152) if recipe == "LINER-215" else (158, 172)
    assert one.recipe == recipe
    assert one.good >= 5
    assert low <= max(formed) <= high
