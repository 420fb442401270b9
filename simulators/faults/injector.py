"""Doing what was ordered: faults begin and end as simulated time passes, or as a control file says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from simulators.faults.catalogue import FAULTS
from simulators.machines.carousel import Carousel
from simulators.machines.machine import Machine

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.settings.point import Point
    from simulators.faults.catalogue import Fault

log = structlog.get_logger()


class Injector:
    """Begins and ends what was ordered, as simulated time passes."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self._coming = sorted(faults, key=lambda fault: (fault.start, str(fault)))
        self.active: list[Fault] = []

    def order(self, fault: Fault) -> None:
        """Take another fault."""
        self._coming = sorted([*self._coming, fault], key=lambda one: (one.start, str(one)))

    def end(self, name: str) -> bool:
        """End the active faults of that name, as `press-03:silence`; returns whether there was one."""
        ended = [fault for fault in self.active if str(fault) == name]
        for fault in ended:
            self._end(fault)
        return bool(ended)

    def step(self, clock: float) -> list[tuple[Fault, bool]]:
        """Begin and end what is due at `clock`; return what has changed: the fault, and whether it is active now."""
        changed: list[tuple[Fault, bool]] = []
        for fault in [fault for fault in self.active if fault.end <= clock]:
            self._end(fault)
            changed.append((fault, False))
        while self._coming and self._coming[0].start <= clock:
            fault = self._coming.pop(0)
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
    shown = fault.shown
    shown.version += 1
    if fault.point is not None:
        _apply_to_point(fault, fault.point, on=on)
    elif fault.name not in FAULTS:
        (shown.machine.faults.add if on else shown.machine.faults.discard)(fault.name)
    elif fault.name == "duplicate_serial":
        machine = shown.machine
        for one in machine.machines if isinstance(machine, Machine | Carousel) else []:
            one.same_serial = on
    elif fault.name == "restart":
        shown.link.restarts += on
    else:
        _apply_to_link(fault, on=on)


def _apply_to_link(fault: Fault, *, on: bool) -> None:
    link = fault.shown.link
    match fault.name:
        case "slow":
            link.slow = fault.value if on else 0.0
        case "wrong_clock":
            link.clock = fault.value if on else 0.0
        case "silence":
            link.silent = on
        case "garbage":
            link.garbage = on
        case _:
            link.refused = on


def _apply_to_point(fault: Fault, point: Point, *, on: bool) -> None:
    shown, name = fault.shown, point.name
    match fault.name:
        case "sensor_break":
            (shown.broken.add if on else shown.broken.discard)(name)
        case "stuck":
            value = shown.values()[name]
            shown.stuck.pop(name, None)
            if on and value is not None:
                shown.stuck[name] = value
        case "drift":
            shown.drifting.pop(name, None)
            if on:
                low, high = point.range or (0.0, 100.0)
                shown.drifting[name] = (shown.machine.clock, fault.value / 100 * (high - low) / 60)
        case _:
            (shown.link.illegal.add if on else shown.link.illegal.discard)(name)
