"""Begins and ends faults as simulated time passes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from simulators.faults.catalogue import FAULTS, MODBUS_FAULTS
from simulators.machines.carousel import Carousel
from simulators.machines.machine import Machine

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.settings.point import Point
    from simulators.faults.catalogue import Fault

log = structlog.get_logger(__name__)


class Injector:
    """Begins and ends scheduled faults."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self._scheduled = sorted(faults, key=lambda fault: (fault.start, str(fault)))
        self.active: list[Fault] = []

    def schedule(self, fault: Fault) -> None:
        """Add a fault."""
        self._scheduled = sorted([*self._scheduled, fault], key=lambda fault: (fault.start, str(fault)))

    def end(self, name: str) -> bool:
        """End the active faults of a name such as `press-03:silence`; return True if there was one."""
        ended = [fault for fault in self.active if str(fault) == name]
        for fault in ended:
            self._end(fault)
        return bool(ended)

    def step(self, clock: float) -> list[tuple[Fault, bool]]:
        """Begin and end the faults due at `clock`; return those that changed, each with True if it is active now."""
        changed: list[tuple[Fault, bool]] = []
        for fault in [fault for fault in self.active if fault.end <= clock]:
            self._end(fault)
            changed.append((fault, False))
        while self._scheduled and self._scheduled[0].start <= clock:
            fault = self._scheduled.pop(0)
            self.active.append(fault)
            apply(fault, on=True)
            log.info("fault.began", fault=str(fault), at=round(fault.start, 1))
            changed.append((fault, True))
        return changed

    def _end(self, fault: Fault) -> None:
        self.active.remove(fault)
        if not any(str(other) == str(fault) for other in self.active):
            apply(fault, on=False)
        log.info("fault.ended", fault=str(fault))


def apply(fault: Fault, *, on: bool) -> None:
    """Begin or end one fault."""
    outputs = fault.outputs
    outputs.version += 1
    if fault.point is not None:
        _apply_to_point(fault, fault.point, on=on)
    elif fault.name in MODBUS_FAULTS:
        behaviours = outputs.network.behaviours
        behaviours.pop(fault.name, None)
        if on:
            behaviours[fault.name] = fault.value
    elif fault.name not in FAULTS:
        (outputs.machine.faults.add if on else outputs.machine.faults.discard)(fault.name)
    elif fault.name == "duplicate_serial":
        machine = outputs.machine
        for place in machine.machines if isinstance(machine, Machine | Carousel) else []:
            place.same_serial = on
    elif fault.name == "restart":
        outputs.network.restarts += on
    else:
        _apply_to_network(fault, on=on)


def _apply_to_network(fault: Fault, *, on: bool) -> None:
    network = fault.outputs.network
    match fault.name:
        case "slow":
            network.slow = fault.value if on else 0.0
        case "wrong_clock":
            network.clock = fault.value if on else 0.0
        case "silence":
            network.silent = on
        case "garbage":
            network.garbage = on
        case _:
            network.refused = on


def _apply_to_point(fault: Fault, point: Point, *, on: bool) -> None:
    outputs, name = fault.outputs, point.name
    match fault.name:
        case "sensor_break":
            (outputs.broken.add if on else outputs.broken.discard)(name)
        case "stuck":
            value = outputs.values()[name]
            outputs.stuck.pop(name, None)
            if on and value is not None:
                outputs.stuck[name] = value
        case "drift":
            outputs.drifting.pop(name, None)
            if on:
                low, high = point.range or (0.0, 100.0)
                outputs.drifting[name] = (outputs.machine.clock, fault.value / 100 * (high - low) / 60)
        case _:
            (outputs.network.illegal.add if on else outputs.network.illegal.discard)(name)
