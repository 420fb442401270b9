"""Faults by name: the known faults, their effects, and their end."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

import pytest
from simulated import configure

from gateway.settings.load import load_factory
from gateway.settings.templates import bundled_config
from simulators.faults.catalogue import FAULTS, InvalidFault, parse_fault, random_faults
from simulators.faults.control_file import ControlFile
from simulators.faults.injector import Injector
from simulators.machines.machine import Machine
from simulators.machines.models import MODELS
from simulators.machines.plant import Plant

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.settings.factory import Factory
    from simulators.machines.outputs import MachineOutputs


@pytest.fixture(scope="module")
def factory() -> Factory:
    """A bundled plant, which no test changes."""
    return load_factory(bundled_config() / "tire-plant.yaml")


@pytest.fixture
def plant(factory: Factory) -> Plant:
    return Plant(factory, "seed")


def named(plant: Plant, name: str) -> MachineOutputs:
    return next(shown for configured, shown in plant.machines if configured.path.machine == name)


def shown(plant: Plant) -> list[MachineOutputs]:
    return [one for _, one in plant.machines]


def run(plant: Plant, seconds: float, *orders: str) -> Injector:
    injector = Injector([parse_fault(order, shown(plant), "seed") for order in orders])
    until = plant.clock + seconds
    while plant.clock < until:
        plant.step(1.0)
        injector.step(plant.clock)
    return injector


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("press-03", "is not a fault; write MACHINE:FAULT@START"),
        ("press-3:silence", "did you mean 'press-03'"),
        ("press-03:bladder_leek", "did you mean 'bladder_leak'"),
        ("tbm-01:bladder_leak", "unknown fault 'bladder_leak'"),
        ("press-03.bladder_pressure:stuck", "unknown point 'bladder_pressure'; did you mean 'bladder_pressure_left'"),
        ("press-03.bladder_pressure_left:silence", "applies to a machine, not to a point"),
        ("press-03:silence@120", "is not a duration"),
        ("press-03:wrong_clock", "unknown fault 'wrong_clock'"),
    ],
)
def test_an_invalid_fault_is_refused_with_a_correction(plant: Plant, written: str, message: str):
    """A fault that silently does nothing makes a test pass that should fail."""
    with pytest.raises(InvalidFault, match=re.escape(message)):
        parse_fault(written, shown(plant), "seed")


def test_a_machine_name_of_two_lines_needs_its_line(tmp_path: Path):
    """Names are unique in a line only."""
    config = configure(
        tmp_path, {}, {"press-01": {"template": "curing-press", "connection": "modbus+tcp://10.0.0.1"}}
    )
    config.write_text(
        config.read_text()
        + "  other:\n    area: area\n    machines:\n      press-01: {template: curing-press, "
        + 'connection: "modbus+tcp://10.0.0.2"}\n'
    )
    plant = Plant(load_factory(config), "seed")
    with pytest.raises(InvalidFault, match="2 machines 'press-01'; write the line too, as in 'line/press-01'"):
        parse_fault("press-01:silence", shown(plant), "seed")
    assert parse_fault("other/press-01:silence", shown(plant), "seed").outputs.configured.path.line == "other"


def test_a_broken_sensor_has_no_value_until_it_is_mended(plant: Plant):
    """The value before is not shown again."""
    one = named(plant, "press-03")
    run(plant, 10, "press-03.bladder_temperature_left:sensor_break@5s+10s")
    assert one.values()["bladder_temperature_left"] is None
    injector = run(plant, 10)
    assert injector.active == []


def test_a_stuck_value_stays_while_the_machine_goes_on(plant: Plant):
    """The model does not stop; only the shown value does not change."""
    one = named(plant, "press-03")
    run(plant, 5, "press-03.bladder_temperature_left:stuck@2s")
    stuck = one.values()["bladder_temperature_left"]
    run(plant, 300)
    assert one.values()["bladder_temperature_left"] == stuck
    assert one.machine.read()["bladder_temperature_left"] != stuck


def test_a_value_drifts_from_the_truth(plant: Plant):
    """Ten percent of the range a minute, after three minutes: 81 of 270 degrees."""
    one = named(plant, "press-03")
    run(plant, 180, "press-03.mould_temperature_left:drift=10@1s")
    seen, true = one.values()["mould_temperature_left"], one.machine.read()["mould_temperature_left"]
    assert isinstance(seen, float)
    assert isinstance(true, float)
    assert seen - true == pytest.approx(81.0, abs=1.0)


def test_faults_begin_and_end_in_time(plant: Plant):
    """Simulated time counts."""
    injector = Injector([parse_fault("press-03:silence@10s+20s", shown(plant), "seed")])
    link = named(plant, "press-03").network
    assert [(bool(injector.step(clock)), link.silent) for clock in (9.9, 10.0, 29.9, 30.0, 31.0)] == [
        (False, False), (True, True), (False, True), (True, False), (False, False),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("fault", "leaks", "tight", "alarm"),
    [("bladder_leak", "left", "right", 1), ("bladder_leak_right", "right", "left", 2)],
)
def test_a_leaking_bladder_loses_pressure_and_raises_the_alarm(fault: str, leaks: str, tight: str, alarm: int):
    """0.2 bar a minute in nitrogen, in one of the two moulds, while the mains are as they were."""
    press = MODELS["curing-press"]("press-01", "seed")
    press.faults.add(fault)
    pressures: dict[str, list[float]] = {leaks: [], tight: []}
    while press.clock < 2000.0 and press.cycles == 0:
        press.step(1.0)
        for side, seen in pressures.items():
            pressure = press.signals[f"bladder_pressure_{side}"]
            assert isinstance(pressure, float)
            if press.signals["nitrogen_valve"]:
                seen.append(pressure)
    lost = pressures[leaks]
    assert lost[-1] < 21.0
    assert lost[120] - lost[-1] == pytest.approx(0.2 * (len(lost) - 120) / 60, abs=0.25)
    assert pressures[tight][-1] == pytest.approx(22.0, abs=0.5)
    assert press.alarms == alarm


def test_a_blocked_steam_trap_cools_one_of_two_bladders():
    """Each has its own: 15 degrees less in steam, and the tyre there is cured less."""
    press = MODELS["curing-press"]("press-01", "seed")
    press.faults.add("steam_trap_right")
    while press.signals["phase"] != 4:
        press.step(1.0)
    assert press.signals["bladder_temperature_left"] == pytest.approx(203.0, abs=2.0)
    assert press.signals["bladder_temperature_right"] == pytest.approx(188.0, abs=2.0)
    while press.signals["phase"] != 5:
        press.step(1.0)
    cured, less = press.signals["cure_integral_left"], press.signals["cure_integral_right"]
    assert isinstance(cured, float)
    assert isinstance(less, float)
    assert less < 0.9 * cured


def test_a_stuck_steam_valve_leaves_both_tyres_uncured():
    """The press decides by the cure integral, not by luck."""
    press = MODELS["curing-press"]("press-01", "seed")
    press.faults.add("stuck_valve")
    while press.cycles == 0:
        press.step(1.0)
    assert press.rejects == 2
    assert (press.signals["result_left"], press.signals["result_right"]) == (2, 2)


@pytest.mark.parametrize("name", MODELS)
def test_every_process_fault_changes_a_signal(name: str):
    """A fault without an effect is not a fault."""
    model = MODELS[name]
    for fault in model.process_faults:
        assert fault not in FAULTS
        sound, faulty = model("m", "seed"), model("m", "seed")
        faulty.faults.add(fault)
        differs = False
        while sound.clock < 2.5 * model.cycle and not differs:
            sound.step(1.0)
            faulty.step(1.0)
            differs = sound.signals != faulty.signals
        assert differs, fault


def test_duplicate_serial_numbers_are_given_until_the_fault_ends(plant: Plant):
    """Traceability must survive this fault."""
    tbm = named(plant, "tbm-01").machine
    assert isinstance(tbm, Machine)
    tbm.same_serial = True
    first = tbm.start_part().serial
    assert tbm.start_part().serial == first
    tbm.same_serial = False
    assert tbm.start_part().serial != first


def test_random_faults_come_from_the_seed(plant: Plant):
    """They occur at the requested mean rate, and are the same each time."""
    drawn = [[(str(f), f.start) for f in random_faults(shown(plant), seed, 60.0, 36_000.0)] for seed in "aab"]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(drawn[0]) == pytest.approx(600, rel=0.2)
    assert len({name for name, _ in drawn[0]}) > 50


def test_a_control_file_begins_and_ends_faults(plant: Plant, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Only whole lines are read: a line that is still being written waits."""
    file, injector = tmp_path / "control", Injector([])
    control, link = ControlFile(file, injector, shown(plant)), named(plant, "press-03").network

    def look() -> bool:
        control.poll(plant.clock)
        injector.step(plant.clock)
        return link.silent

    assert not look()
    file.write_text("# comment\npress-03:sil")
    assert not look()
    file.write_text("# comment\npress-03:silence\n")
    assert look()
    with file.open("a") as more:
        more.write("press-03:silence off\npress-03:nonsense\npress-04:silence off\n")
    assert not look()
    output = capsys.readouterr().out
    assert f"{file}:4:1: 'press-03:nonsense': unknown fault" in output
    assert f"{file}:5:1: 'press-04:silence' is not active" in output


def test_a_fault_without_an_end_lasts(plant: Plant):
    """`+DURATION` can be left out."""
    assert math.isinf(parse_fault("press-03:silence@1m", shown(plant), "seed").end)
