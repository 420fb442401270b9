"""The alarms of the bundled templates, under the physics of the simulated machines at speed.

A fault raises the alarms that a process engineer expects, and no others; an hour of healthy running raises none.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import orjson
import pytest
from derived import START

from drivers.base import Reason, Scan, ValueType, bad
from gateway.acquisition.groups import groups_of
from gateway.model.alarm_state import AlarmState
from gateway.pipeline.calculation import Surroundings
from gateway.pipeline.calculations import calculations_of, follow
from gateway.settings.alarm_set import ALARMS
from gateway.settings.load import load_factory
from gateway.settings.templates import bundled_config
from simulators.faults.catalogue import parse_fault
from simulators.faults.injector import Injector
from simulators.machines.plant import Plant

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from drivers.base import Group, Value
    from gateway.settings.factory import Factory, Machine
    from gateway.settings.point import Point
    from simulators.machines.outputs import MachineOutputs


@cache
def factory(name: str) -> Factory:
    return load_factory(bundled_config() / f"{name}-plant.yaml")


def one_of(name: str, *machines: str) -> Factory:
    whole = factory(name)
    return replace(whole, machines=tuple(one for one in whole.machines if one.path.machine in machines))


class Watched:
    """The alarms of one simulated machine; `annunciated` are the alarms that became unacknowledged."""

    def __init__(self, machine: Machine, outputs: MachineOutputs, clock: Callable[[], float]) -> None:
        self.outputs = outputs
        self.annunciated: list[str] = []
        self._clock = clock
        surroundings = Surroundings(self._sink_of, self._now, clock, lambda: None)
        self.calculations = calculations_of(machine, surroundings)
        self._groups: list[tuple[Group, Sequence[tuple[str, Value | None]], Callable[[Scan], None]]] = []
        for group, points in groups_of(machine):
            step = follow(self.calculations, group)
            if step is not None:
                self._groups.append((group, [(point.name, _broken(point)) for point in points], step))

    def _now(self) -> int:
        return START + round(self._clock() * 1e6)

    def _sink_of(self, group: Group, _points: Sequence[Point]) -> Callable[[Scan], None]:
        return self._note if group.names == (ALARMS,) else lambda _: None

    def _note(self, scan: Scan) -> None:
        record = orjson.loads(str(scan.values[0]))
        if record["state"] == AlarmState.UNACKNOWLEDGED:
            self.annunciated.append(record["alarm"])

    def step(self) -> None:
        values = self.outputs.values()
        for group, points, take in self._groups:
            read = [broken if (value := values[name]) is None else value for name, broken in points]
            faults = {i: bad(Reason.NOT_A_NUMBER, "") for i, value in enumerate(read) if value is None}
            take(Scan(group, self._now(), read, faults))
        for calculation in self.calculations:
            if calculation.due <= self._clock():
                calculation.tick(self._clock())


def _broken(point: Point) -> Value | None:
    """Return the value that a broken sensor gives: a register without a NaN has the end of its range."""
    limits = point.source.limits
    if limits is not None and point.source.value_type is ValueType.INT:
        return limits[1] * point.scale + point.offset
    return None


def run(config: Factory, seconds: float, *faults: str, seed: str = "seed") -> dict[str, list[str]]:
    """Run a plant; return the alarms that were annunciated, by machine."""
    plant = Plant(config, seed)
    outputs = [one for _, one in plant.machines]
    injector = Injector([parse_fault(fault, outputs, seed) for fault in faults])
    watched = {
        machine.path.machine: Watched(machine, one, lambda: plant.clock)
        for machine, one in plant.machines
        if machine.alarms
    }
    assert watched
    while plant.clock < seconds:
        plant.step(1.0)
        injector.step(plant.clock)
        for one in watched.values():
            one.step()
    return {name: one.annunciated for name, one in watched.items() if one.annunciated}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tire", "appliance"])
def test_an_hour_of_healthy_running_raises_no_alarm(name: str) -> None:
    """An alarm that comes without a cause is soon ignored by all."""
    assert (
        run(replace(factory(name), machines=tuple(one for one in factory(name).machines if one.alarms)), 3600) == {}
    )


PRESS = {
    "bladder_leak": {"bladder_leak_left"},
    "bladder_leak_right": {"bladder_leak_right"},
    "steam_trap": {"bladder_cold_left"},
    "steam_trap_right": {"bladder_cold_right"},
    "supply_drop": {"steam_supply_low", "nitrogen_supply_low"},
    "late_opening": {"opens_late"},
    "stuck_valve": {"steam_not_admitted"},
}


@pytest.mark.slow
@pytest.mark.parametrize("fault", PRESS)
def test_a_fault_of_a_press_raises_its_alarms(fault: str) -> None:
    """And no other: a cause suppresses its consequences."""
    found = run(one_of("tire", "press-01"), 2400, f"press-01:{fault}@10s+35m")
    assert set(found.get("press-01", ())) == PRESS[fault]


@pytest.mark.parametrize(
    ("place", "machine", "point", "alarms"),
    [
        ("tire", "press-01", "mould_temperature_left", {"mould_thermocouple_left"}),
        ("tire", "press-01", "bladder_temperature_right", {"bladder_thermocouple_right"}),
        ("tire", "press-01", "hydraulic_pressure", {"hydraulic_sensor"}),
        ("tire", "extruder-01", "melt_temperature", {"melt_thermocouple"}),
        ("appliance", "imm-01", "melt_temperature", {"melt_thermocouple"}),
    ],
)
def test_a_broken_sensor_raises_the_alarm_of_the_instrument(
    place: str, machine: str, point: str, alarms: set[str]
) -> None:
    """And not that of the process: nobody knows its value."""
    found = run(one_of(place, machine), 1000, f"{machine}.{point}:sensor_break@300s+5m")
    assert set(found.get(machine, ())) == alarms


def test_a_gas_alarm_follows_a_sensor_that_drifts() -> None:
    """Both levels, the second more urgent; they are latched."""
    machine = next(one.path.machine for one in factory("appliance").machines if one.template == "foaming-station")
    found = run(one_of("appliance", machine), 900, f"{machine}.gas_concentration:drift=20@60s+10m")
    assert found[machine] == ["gas_high", "gas_high_high"]


def test_every_alarm_says_something_to_an_operator() -> None:
    """A message; and a response for those that are more urgent than low."""
    for name in ("tire", "appliance"):
        for machine in factory(name).machines:
            for alarm in machine.alarms.alarms:
                assert "".join(alarm.message), f"{machine.template} {alarm.name}"
                assert alarm.response or alarm.priority == 4 or alarm.category == "instrument" or (
                    alarm.consequence
                ), f"{machine.template} {alarm.name}"  # fmt: skip
