"""Each fault by its name, as the gateway's driver sees it: over Modbus and over OPC UA."""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING, Any

import pytest
from processes import until
from simulated import PATIENCE, configure, connected, read_machine, simulated
from structlog.testing import capture_logs

from drivers.base import DriverError, NotConnected, Quality, Reason
from gateway.acquisition.groups import groups_of
from simulators.truth import Truth

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from simulated import Reading

    from gateway.settings.factory import Machine

    Seen = dict[str, Reading]

METER = {
    "protocol": "modbus",
    "points": {
        "level": {"address": "holding 0", "raw": "float32", "unit": "Cel", "range": [0, 100]},
        "speed": {"address": "holding 2", "raw": "uint16", "scale": 0.1, "unit": "Cel", "range": [0, 100]},
        "count": {"address": "holding 4", "raw": "uint32"},
    },
}
DRUM = {
    "protocol": "opcua",
    "points": {
        "level": {"node": "s=Level", "type": "float", "unit": "Cel", "range": [0, 100], "mode": "poll"},
        "speed": {"node": "s=Speed", "type": "float", "unit": "Cel", "range": [0, 100], "mode": "poll"},
        "count": {"node": "s=Count", "type": "int", "mode": "poll"},
    },
}
MACHINES = {
    "modbus": {"template": "meter", "connection": "modbus+tcp://10.0.0.1?timeout=0.7"},
    "opcua": {
        "template": "drum",
        "connection": "opc.tcp://10.0.0.1?security=none&namespace=urn:m1&timeout=3&retry_missing=1s",
    },
}

REST = 0.1
"""Seconds between two looks at a machine that is followed for long."""

both = pytest.mark.parametrize("protocol", ["modbus", "opcua"])


class Watched:
    """One machine `m1` that is served and read again and again, and the file through which faults begin."""

    def __init__(self, machine: Machine, control: Path) -> None:
        self.machine = machine
        self._control = control

    def order(self, line: str) -> None:
        with self._control.open("a") as file:
            file.write(f"{line}\n")

    async def look(self) -> Seen | DriverError:
        """Connect and read, once."""
        try:
            return await read_machine(self.machine, patient=False)
        except DriverError as error:
            return error

    async def until(self, wanted: Callable[[Seen], bool]) -> Seen:
        """Read until readings are as wanted."""
        async with asyncio.timeout(PATIENCE):
            while True:
                seen = await self.look()
                if isinstance(seen, dict) and wanted(seen):
                    return seen
                await asyncio.sleep(0.05)

    async def later(self, wanted: Callable[[Seen], bool]) -> Seen:
        """Wait a little, since a plant does not change in between, and read until readings are as wanted."""
        await asyncio.sleep(REST)
        return await self.until(wanted)

    async def goes_on(self, before: Seen) -> Seen:
        """Read until all readings are good, and the machine has counted since those before."""
        return await self.until(lambda seen: good(seen) and seen["count"].value != before["count"].value)

    async def until_error(self, kind: type[DriverError]) -> DriverError:
        """Read until that fails as a whole."""
        async with asyncio.timeout(PATIENCE):
            while True:
                seen = await self.look()
                if isinstance(seen, kind):
                    return seen
                await asyncio.sleep(0.05)


def watched(folder: Path, protocol: str, **options: Any) -> tuple[Path, dict[str, Any]]:
    config = configure(folder, {"meter": METER, "drum": DRUM}, {"m1": MACHINES[protocol]})
    return config, {"control": folder / "control"} | options


def good(seen: Seen) -> bool:
    return all(one.fault is None for one in seen.values())


@both
async def test_a_broken_sensor_is_bad_and_has_no_value(tmp_path: Path, protocol: str):
    """NaN in a register, a status of a node; either way the last value is not shown again."""
    config, options = watched(tmp_path, protocol)
    async with simulated(tmp_path, config, **options) as factory:
        m1 = Watched(factory.machines[0], options["control"])
        m1.order("m1.level:sensor_break")
        seen = await m1.until(lambda seen: seen["level"].fault is not None)
        assert seen["level"].fault is not None
        assert seen["level"].value is None
        assert seen["level"].fault.quality is Quality.BAD
        expected = Reason.NOT_A_NUMBER if protocol == "modbus" else Reason.DEVICE_FAULT
        assert seen["level"].fault.reason is expected
        assert seen["speed"].fault is None
        m1.order("m1.level:sensor_break off")
        await m1.until(good)


@both
async def test_a_stuck_value_is_the_same_while_others_go_on(tmp_path: Path, protocol: str):
    """Good in every other way: only a comparison shows it."""
    config, options = watched(tmp_path, protocol, speed=20.0)
    async with simulated(tmp_path, config, **options) as factory:
        m1 = Watched(factory.machines[0], options["control"])
        with capture_logs() as logs:
            m1.order("m1.level:stuck")
            await until(lambda: [one for one in logs if one["event"] == "fault.began"], "it is stuck", PATIENCE)
        first = await m1.until(good)
        for _ in range(2):  # the server shows all that it did not show yet, and then all of it once more
            first = await m1.goes_on(first)
        later = first
        while later["speed"].value == first["speed"].value:
            later = await m1.goes_on(later)
        assert later["level"].value == first["level"].value


@both
async def test_a_drifting_value_leaves_the_truth_that_others_keep(tmp_path: Path, protocol: str):
    """Twenty percent of the range a minute, at twenty times the speed."""
    config, options = watched(tmp_path, protocol, speed=20.0)
    async with simulated(tmp_path, config, **options) as factory:
        m1 = Watched(factory.machines[0], options["control"])
        before = await m1.until(good)
        assert abs(value(before, "level") - value(before, "speed")) < 40
        m1.order("m1.level:drift=-20")
        await m1.until(lambda seen: good(seen) and value(seen, "level") < value(before, "level") - 20)


def value(seen: Seen, name: str) -> float:
    held = seen[name].value
    assert isinstance(held, int | float)
    return held


@both
async def test_an_illegal_register_costs_its_own_point_alone(tmp_path: Path, protocol: str):
    """Exception 2 for the request, or a status of the node; the points beside it stay good."""
    config, options = watched(tmp_path, protocol)
    async with simulated(tmp_path, config, **options) as factory:
        m1 = Watched(factory.machines[0], options["control"])
        m1.order("m1.count:illegal_register")
        seen = await m1.until(lambda seen: seen["count"].fault is not None)
        assert seen["count"].fault is not None
        assert seen["count"].fault.reason is (Reason.REFUSED if protocol == "modbus" else Reason.NOT_FOUND)
        assert seen["level"].fault is None
        m1.order("m1.count:illegal_register off")
        await m1.until(good)


@both
async def test_late_answers_make_reads_slow_and_too_late_answers_are_faults(tmp_path: Path, protocol: str):
    """Within the time-out a read takes longer; beyond it there is no answer."""
    config, options = watched(tmp_path, protocol)
    async with simulated(tmp_path, config, **options) as factory:
        m1 = Watched(factory.machines[0], options["control"])
        await m1.until(good)
        m1.order("m1:slow=0.3")
        async with asyncio.timeout(PATIENCE):
            took = 0.0
            while took < 0.3:
                began = time.monotonic()
                await m1.until(good)
                took = time.monotonic() - began
        m1.order("m1:slow off")
        m1.order("m1:slow=5")
        await nothing_comes(m1)
        m1.order("m1:slow off")
        await m1.until(good)


async def nothing_comes(m1: Watched) -> None:
    """Wait until a read has no value: as a whole, or of any point."""
    async with asyncio.timeout(PATIENCE):
        while True:
            seen = await m1.look()
            if isinstance(seen, DriverError) or all(one.value is None for one in seen.values()):
                return


@both
@pytest.mark.parametrize("fault", ["silence", "garbage"])
async def test_silence_and_garbage_are_not_values(tmp_path: Path, protocol: str, fault: str):
    """No value may be read from them."""
    config, options = watched(tmp_path, protocol)
    async with simulated(tmp_path, config, **options) as factory:
        m1 = Watched(factory.machines[0], options["control"])
        await m1.until(good)
        m1.order(f"m1:{fault}")
        await nothing_comes(m1)
        m1.order(f"m1:{fault} off")
        await m1.until(good)


@both
async def test_a_refused_connection_is_not_connected_until_it_is_accepted_again(tmp_path: Path, protocol: str):
    """A device that is switched off, or whose cable is cut; an open connection is cut, too."""
    config, options = watched(tmp_path, protocol)
    async with simulated(tmp_path, config, **options) as factory:
        m1 = Watched(factory.machines[0], options["control"])
        await m1.until(good)
        groups = [group for group, _ in groups_of(m1.machine)]
        async with connected(m1.machine, groups) as driver:
            m1.order("m1:refused")
            await m1.until_error(NotConnected)
            with pytest.raises(DriverError):
                await driver.read(groups[0])
        m1.order("m1:refused off")
        await m1.until(good)


@both
async def test_a_restart_is_survived_by_who_addresses_by_uri(tmp_path: Path, protocol: str):
    """The connection ends; afterwards the same points are good, though OPC UA namespaces have other numbers."""
    config, options = watched(tmp_path, protocol)
    async with simulated(tmp_path, config, **options) as factory:
        m1 = Watched(factory.machines[0], options["control"])
        await m1.until(good)
        m1.order("m1:restart")
        await m1.until_error(NotConnected)
        await m1.until(good)


async def test_a_wrong_clock_is_a_doubt_about_the_readings_time(tmp_path: Path):
    """An hour ahead: a reading can't be from the future."""
    points = {name: {key: keys[key] for key in keys if key != "mode"} for name, keys in DRUM["points"].items()}  # type: ignore[attr-defined]
    config = configure(tmp_path, {"drum": DRUM | {"points": points}}, {"m1": MACHINES["opcua"]})
    options = {"control": tmp_path / "control"}
    async with simulated(tmp_path, config, **options) as factory:
        m1 = Watched(factory.machines[0], options["control"])
        m1.order("m1:wrong_clock=3600")
        seen = await m1.until(lambda seen: seen["count"].fault is not None)
        assert seen["count"].fault is not None
        assert seen["count"].fault.quality is Quality.UNCERTAIN
        assert seen["count"].fault.reason is Reason.CLOCK


@pytest.mark.parametrize(
    ("template", "connection", "point"),
    [
        ("bead-winder", "modbus+tcp://10.0.0.1", "serial_number"),
        ("tire-building-machine", "opc.tcp://10.0.0.1?security=none&namespace=urn:m1", "serial_number"),
    ],
)
async def test_duplicate_serial_numbers_are_read(tmp_path: Path, template: str, connection: str, point: str):
    """Two parts, one number: counted by the machine, and by who looks at its serial numbers."""
    machines = {"m1": {"template": template, "connection": connection}}
    config, control = configure(tmp_path, {}, machines), tmp_path / "control"
    async with simulated(tmp_path, config, control=control, speed=100.0) as factory:
        m1 = Watched(factory.machines[0], control)
        m1.order("m1:duplicate_serial")
        await m1.until(lambda seen: bool(seen[point].value))
        first = await m1.until(lambda seen: bool(seen[point].value))
        held = first
        while value(held, "cycle_count") < value(first, "cycle_count") + 6:
            held = await m1.later(lambda seen: bool(seen[point].value))
        repeated = held
        more = await m1.until(lambda seen: value(seen, "cycle_count") > value(repeated, "cycle_count") + 1)
        assert more[point].value in {repeated[point].value, ""}


PRESS = {"m1": {"template": "curing-press", "connection": "modbus+tcp://10.0.0.1"}}


def hot_condensate(seen: Seen) -> bool:
    return at(seen, 3) and 184 < value(seen, "bladder_temperature_left") < 190


def shut_in_phase_3(seen: Seen) -> bool:
    return at(seen, 3) and value(seen, "bladder_pressure_left") < 1


WRONG: dict[str, tuple[float, Callable[[Seen], bool]]] = {
    "bladder_leak": (100.0, lambda seen: value(seen, "alarm_word") == 1),
    "steam_trap": (60.0, hot_condensate),
    "supply_drop": (100.0, lambda seen: value(seen, "steam_supply_pressure") < 13),
    "stuck_valve": (60.0, shut_in_phase_3),
    "late_opening": (100.0, lambda seen: value(seen, "phase_time") > 830),
}
"""Fault -> the speed at which its effect lasts for some readings, and the effect, which good readings show."""


async def test_a_fault_inside_a_press_is_seen_from_outside_and_no_other(tmp_path: Path):
    """By its readings alone, as a process engineer would; the cycles of all presses pass at the same time."""
    async with asyncio.TaskGroup() as tasks:
        for fault in WRONG:
            tasks.create_task(is_seen(tmp_path / fault, fault), name=fault)
        tasks.create_task(healthy_press_shows_none(tmp_path / "healthy"), name="healthy")


async def is_seen(folder: Path, fault: str) -> None:
    """Serve a press with a fault until its readings show it."""
    folder.mkdir()
    speed, wrong = WRONG[fault]
    config, truth = configure(folder, {}, PRESS), folder / "truth.jsonl"
    async with simulated(folder, config, faults=(f"m1:{fault}@0s",), truth=truth, speed=speed) as factory:
        await Watched(factory.machines[0], folder / "control").until(lambda seen: good(seen) and wrong(seen))
    assert Truth(truth).faults[0]["fault"] == f"m1:{fault}"


async def healthy_press_shows_none(folder: Path) -> None:
    """Look at it in two whole cycles, and in the phase that would show a blocked steam trap or a stuck valve."""
    folder.mkdir()
    async with simulated(folder, configure(folder, {}, PRESS), speed=100.0) as factory:
        m1 = Watched(factory.machines[0], folder / "control")
        first = now = await m1.until(good)
        looked = False
        while not looked or value(now, "cycle_count") < value(first, "cycle_count") + 2:
            now = await m1.later(good)
            assert [fault for fault, (_, wrong) in WRONG.items() if wrong(now)] == []
            looked = looked or at(now, 3)


def at(seen: Seen, phase: int) -> bool:
    """Return whether a press is in the second half of a phase."""
    ends = (30.0, 60.0, 240.0, 690.0)
    middle = (ends[phase - 2] + ends[phase - 1]) / 2
    return value(seen, "phase") == phase and value(seen, "phase_time") > middle and math.isfinite(middle)
